"""How the node is seen from outside: logs that cannot name a patient, and the word to systemd."""
