// commands.h - the functions of commands.def.
#ifndef CLI_COMMANDS_H
#define CLI_COMMANDS_H
#define COMMAND(name, function, group, summary) int function(int argc, char **argv);
#include "commands.def"
#undef COMMAND
#endif
