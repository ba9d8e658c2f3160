"""`python -m attar` is the program `attar`."""

import _attar_programs

_attar_programs.main()
