// main.c - the program tl: finds the command and runs it. The commands are in commands.def.
#include "args.h"
#include "commands.h"
#include "stamp.h"
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <tensorlogic.h>

typedef struct command {
    const char *name;
    int (*run)(int argc, char **argv);
    const char *group, *summary;
} command;

static const command commands[] = {
#define COMMAND(name, function, group, summary) {name, function, group, summary},
#include "commands.def"
#undef COMMAND
};
enum { COMMANDS = sizeof commands / sizeof *commands };

static void print_help(FILE *to) {
    fprintf(to, "usage: tl COMMAND [options]\n\nTensorLogic runs language models whose architecture is a .tl program.\n");
    for (int i = 0; i < COMMANDS; i++) {
        if (i == 0 || strcmp(commands[i].group, commands[i - 1].group) != 0) fprintf(to, "\n%s:\n", commands[i].group);
        fprintf(to, "  %-12s %s\n", commands[i].name, commands[i].summary);
    }
    fprintf(to, "\n`tl COMMAND --help` tells a command's options; `tl --version` the version.\n"
                "Results go to stdout and everything else to stderr. Exit status: 0, 1 for a failure, 2 for a wrong call.\n");
}

static const command *find_command(const char *name) {
    for (int i = 0; i < COMMANDS; i++)
        if (strcmp(commands[i].name, name) == 0) return &commands[i];
    return NULL;
}

static int unknown_command(const char *name) {
    const char *names[COMMANDS + 1] = {0};
    size_t n = strlen(name);
    for (int i = 0; i < COMMANDS; i++) names[i] = commands[i].name;
    const char *near = args_nearest(name, names);
    fprintf(stderr, "tl: there is no command \"%s\"", name);
    if (n > 3 && strcmp(name + n - 3, ".tl") == 0) fprintf(stderr, "; did you mean `tl run %s`?", name);
    else if (near) fprintf(stderr, "; did you mean `tl %s`?", near);
    fprintf(stderr, "\n`tl --help` lists the commands\n");
    return 2;
}

static int run_command(int argc, char **argv) {
    static char help[] = "--help";
    const char *name = argc > 1 ? argv[1] : "";
    if (argc < 2) return print_help(stderr), 2;
    if (strcmp(name, "--version") == 0 || strcmp(name, "-V") == 0) return printf("tl %s\n", tl_version()), 0;
    bool help_wanted = strcmp(name, "help") == 0 || strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0;
    if (help_wanted && argc == 2) return print_help(stdout), 0;
    const command *c = find_command(help_wanted ? argv[2] : name);
    if (!c) return unknown_command(help_wanted ? argv[2] : name);
    if (help_wanted) return c->run(2, (char *[]){argv[2], help, NULL});
    stamp_call(argc - 1, argv + 1);
    return c->run(argc - 1, argv + 1);
}

int main(int argc, char **argv) {
    int status = run_command(argc, argv);
    // A full disk or a closed pipe is a failure even when everything else went well.
    if (fflush(stdout) != 0 || ferror(stdout)) {
        fprintf(stderr, "tl: stdout cannot be written: %s\n", strerror(errno));
        return status ? status : 1;
    }
    return status;
}
