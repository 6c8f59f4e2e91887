/* A library that is there when the module is linked and not found when it is loaded. */
int caged_test_absent(void) { return 1; }
