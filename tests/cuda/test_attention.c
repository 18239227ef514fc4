// test_attention.c - attention of many rows.
#include "harness.h"

void test_attention(bool big) { (void)big; }
void time_attention(void) {}
