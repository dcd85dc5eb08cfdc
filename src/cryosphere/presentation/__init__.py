"""How pictures and pages look, whoever draws and writes them."""
