/* In the place of the theme's file of 1.5 MB: its icons come as a font, too, and are drawn with that. */
