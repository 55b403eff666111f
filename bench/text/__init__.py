"""Text for any medium: numbers, Markdown, and names made safe for their place."""
