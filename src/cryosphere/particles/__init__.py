"""Particles: their table (poses, optics, CTF), their files (RELION STAR, cryoSPARC .cs), their images."""
