// interrupt.c - see interrupt.h.
#include "interrupt.h"
#include <signal.h>

volatile int interrupt_came;

static void on_interrupt(int number) {
    (void)number;
    interrupt_came = 1;
    interrupt_leave();
}

void interrupt_catch(void) { signal(SIGINT, on_interrupt); }
void interrupt_leave(void) { signal(SIGINT, SIG_DFL); }
