// interrupt.h - Ctrl-C while a command is at work: the first asks it to stop, the second ends the program at once. (chat and repl
// have handlers of their own: there it ends a reply or a call, again and again.)
#ifndef CLI_INTERRUPT_H
#define CLI_INTERRUPT_H
extern volatile int interrupt_came;
void interrupt_catch(void); // from now on
void interrupt_leave(void); // as it was at the start: Ctrl-C ends the program
#endif
