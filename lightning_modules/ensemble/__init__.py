"""Many seeds of one member, trained as one computation on one or many ranks."""
