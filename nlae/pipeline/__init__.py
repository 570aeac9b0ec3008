"""Goals like make: what is there is reused, what is half done goes on, what is missing is made, parents first."""
