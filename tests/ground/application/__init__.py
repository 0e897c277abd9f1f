"""The shop as an application, in place of layers/application while a test of the library runs."""
