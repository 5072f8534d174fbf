"""What scoring a pool will cost, from a few hundred of its rows and a short timed run."""
