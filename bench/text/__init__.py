"""Text in any medium: numbers, Markdown, and names made safe for where they are shown."""
