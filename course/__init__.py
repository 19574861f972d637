"""Six labs that teach what the compendium does, graded by nbgrader (`course/README.md`)."""
