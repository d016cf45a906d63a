"""Networks, and the policies and rewards that they give."""
