"""After the run: which of its motions independent halves of the data reproduce, and which they do not support."""
