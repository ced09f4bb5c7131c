"""`mdird serve`: the mdir for many connectors and clients, with rights and push."""
