// test_guard.c - a file that is cut while it is mapped (G32). Without cmocka, whose own signal handlers would replace
// the one under test.
#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/pool.h"
#include "gguf/gguf.h"
#include "gguf/writer.h"

#define CHECK(what) ((what) ? (void)0 : (fprintf(stderr, "%s:%d: %s is false\n", __FILE__, __LINE__, #what), exit(1)))

enum { VALUES = 1 << 18 }; // 1 MiB of data
static char path[] = "tl-guard-XXXXXX";

static void remove_file(void) { unlink(path); }

static gguf *open_big(void) {
    static float data[VALUES];
    gguf_writer w = {0};
    gguf *g;
    tl_error err = {0};
    for (int i = 0; i < VALUES; i++) data[i] = 1;
    gguf_put_tensor(&w, "w", DT_F32, 1, (int64_t[]){VALUES}, data);
    CHECK(gguf_save(&w, path, &err) == TL_OK);
    gguf_writer_free(&w);
    CHECK(gguf_open(path, &g, &err) == TL_OK);
    return g;
}

static double sum(const gguf *g) {
    const float *p = (const float *)gguf_tensor_at(g, 0)->data; // data of this file is aligned
    double total = 0;
    for (int i = 0; i < VALUES; i++) total += (double)p[i];
    return total;
}

static void cut_file_is_survived(void) {
    tl_error err = {0};
    gguf *g = open_big();
    CHECK(sum(g) == VALUES);
    CHECK(gguf_check(g, &err) == TL_OK);
    CHECK(truncate(path, 100000) == 0);
    double rest = sum(g); // would be SIGBUS
    CHECK(rest > 20000 && rest < 30000);
    CHECK(gguf_check(g, &err) == TL_E_IO && err.offset == 100000);
    CHECK(strstr(err.message, "the file was cut from"));
    CHECK(sum(g) == rest); // zeros stay in place
    CHECK(truncate(path, VALUES * 5) == 0);
    CHECK(gguf_check(g, &err) == TL_E_IO); // its size is back, its bytes are not
    CHECK(strstr(err.message, "could not read the file"));
    gguf_close(g);
    g = open_big(); // the next mapping is guarded too
    CHECK(truncate(path, 0) == 0);
    CHECK(sum(g) == 0 && gguf_check(g, &err) == TL_E_IO);
    gguf_close(g);
}

static void sum_share(void *ctx, int thread, int n) {
    (void)thread, (void)n;
    CHECK(sum(ctx) < VALUES);
}

static void cut_file_is_survived_by_threads(void) {
    tl_error err = {0};
    pool *threads;
    gguf *g = open_big();
    CHECK(pool_new(3, &threads, &err) == TL_OK);
    CHECK(truncate(path, 5000) == 0);
    pool_run(threads, sum_share, g);
    CHECK(gguf_check(g, &err) == TL_E_IO);
    pool_free(threads);
    gguf_close(g);
}

// A fault outside our mappings is none of our business: it ends the process as ever.
static void other_faults_are_not_swallowed(void) {
    gguf *g = open_big();
    pid_t child = fork();
    if (child == 0) {
        int fd = open(path, O_RDWR);
        volatile char *p = mmap(NULL, VALUES, PROT_READ, MAP_SHARED, fd, 0);
        alarm(20); // should the fault repeat for ever
        if (fd < 0 || p == MAP_FAILED || ftruncate(fd, 0) != 0) _exit(0);
        _exit(p[5000] ? 0 : 0);
    }
    int status = 0;
    CHECK(waitpid(child, &status, 0) == child);
    // A sanitizer may have its own handler, which reports the fault and ends with a code.
    CHECK(WIFSIGNALED(status) ? WTERMSIG(status) == SIGBUS : WEXITSTATUS(status) != 0);
    gguf_close(g);
}

int main(void) {
    int fd = mkstemp(path);
    CHECK(fd >= 0 && close(fd) == 0 && atexit(remove_file) == 0);
    cut_file_is_survived();
    cut_file_is_survived_by_threads();
    other_faults_are_not_swallowed();
    return 0;
}
