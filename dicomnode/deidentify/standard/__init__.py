"""What the standard says: PS3.15 Annex E, the Types of PS3.3 and the dictionary of PS3.6, as data."""
