"""What is described: the neurons of a scan, or given directions at one site, behind one interface."""
