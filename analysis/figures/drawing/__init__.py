"""What all figures share: style, labels, and how seeds are summarised."""
