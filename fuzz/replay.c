// replay.c - runs a fuzz target over the files of a folder (or over single files), without libFuzzer.
#include <dirent.h>
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int replay_file(const char *path) {
    FILE *f = fopen(path, "rb");
    if (!f) return fprintf(stderr, "%s: %s\n", path, strerror(errno)), -1;
    uint8_t *data = NULL;
    size_t n = 0, cap = 0;
    for (size_t got = 1; got > 0; n += got) {
        if (cap - n < 65536 && !(data = realloc(data, cap += cap + 65536))) abort();
        got = fread(data + n, 1, cap - n, f);
    }
    fclose(f);
    // An exact copy, so that the address sanitizer sees a read of even one byte past the end.
    uint8_t *exact = malloc(n ? n : 1);
    if (!exact) abort();
    memcpy(exact, data, n);
    free(data);
    LLVMFuzzerTestOneInput(exact, n);
    free(exact);
    return 1;
}

static int replay(const char *path) {
    struct stat st;
    if (stat(path, &st) != 0) return fprintf(stderr, "%s: %s\n", path, strerror(errno)), -1;
    if (!S_ISDIR(st.st_mode)) return replay_file(path);
    DIR *dir = opendir(path);
    if (!dir) return fprintf(stderr, "%s: %s\n", path, strerror(errno)), -1;
    int total = 0;
    for (struct dirent *e; total >= 0 && (e = readdir(dir));) {
        if (e->d_name[0] == '.') continue;
        char child[4096];
        snprintf(child, sizeof child, "%s/%s", path, e->d_name);
        int n = replay(child);
        total = n < 0 ? n : total + n;
    }
    closedir(dir);
    return total;
}

int main(int argc, char **argv) {
    int total = 0;
    for (int i = 1; i < argc; i++) {
        int n = replay(argv[i]);
        if (n < 0) return 1;
        total += n;
    }
    if (total == 0) return fprintf(stderr, "no input was found\n"), 1;
    printf("%d inputs\n", total);
    return 0;
}
