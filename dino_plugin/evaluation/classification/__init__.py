"""How well the features tell classes apart."""
