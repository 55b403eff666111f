"""Captioned images: caption schemes, and digits and garments redrawn to match their captions."""
