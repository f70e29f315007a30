"""Journal and identity book: what happened to every instance, and who was who. The only room that knows a database."""
