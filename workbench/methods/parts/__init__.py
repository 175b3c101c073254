"""What methods are made of that is no method itself: solvers, generators, teachers."""
