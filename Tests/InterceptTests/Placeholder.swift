// Unit tests of what lies inside an inspected tunnel.
