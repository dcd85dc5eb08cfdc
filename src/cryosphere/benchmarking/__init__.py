"""How fast a training step is on this machine, where its time goes, and how fast it could be at best."""
