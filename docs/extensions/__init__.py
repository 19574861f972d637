"""What the book does with pages that are written to be read in the repository and in Jupyter, too.

The sources stay plain markdown: a section, an equation, a definition or a reference is named in words or by
an ordinary link, and the book turns it into a cross reference. A name that leads nowhere ends the build.
"""
