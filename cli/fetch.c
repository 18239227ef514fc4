// fetch.c - pip as a child process, wheels through libarchive, checksums through nettle. See fetch.h.
#include "fetch.h"
#include "sha256.h"
#include <archive.h>
#include <archive_entry.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <ftw.h>
#include <limits.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

volatile sig_atomic_t fetch_interrupted;

enum { CHUNK = 1 << 20, TAIL = 16384 };

// ---- folders -----------------------------------------------------------------------------------
static int remove_one(const char *path, const struct stat *st, int type, struct FTW *where) {
    (void)st, (void)type, (void)where;
    return remove(path);
}

void fetch_remove(const char *folder) { nftw(folder, remove_one, 16, FTW_DEPTH | FTW_PHYS); }

static int64_t bytes_seen; // nftw has no context argument
static int add_size(const char *path, const struct stat *st, int type, struct FTW *where) {
    (void)path, (void)where;
    if (type == FTW_F) bytes_seen += st->st_size;
    return 0;
}

static int64_t folder_bytes(const char *folder) {
    bytes_seen = 0;
    nftw(folder, add_size, 16, FTW_PHYS);
    return bytes_seen;
}

static bool find_wheel(const char *folder, char *path, size_t cap) {
    DIR *dir = opendir(folder);
    bool found = false;
    for (struct dirent *e; dir && !found && (e = readdir(dir));) {
        if (fnmatch("*.whl", e->d_name, FNM_PERIOD) != 0) continue;
        int n = snprintf(path, cap, "%s/%s", folder, e->d_name);
        found = n > 0 && (size_t)n < cap;
    }
    if (dir) closedir(dir);
    return found;
}

// ---- pip ---------------------------------------------------------------------------------------
static const char *python(void) {
    const char *own = getenv("TL_PYTHON");
    return own && *own ? own : "python3";
}

// The child's side: never returns. Its working folder is the empty temporary one, since `python3 -m pip` would import a
// pip.py from the folder it is started in.
static void exec_pip(const char *requirement, const char *folder, int out) {
    const char *argv[] = {python(), "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--no-cache-dir",
                    "--no-input", "--disable-pip-version-check", "--progress-bar=off", "--dest", "wheel", "--",
                    requirement, NULL};
    setpgid(0, 0); // a group of its own, so that all of it can be ended
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    int null = open("/dev/null", O_RDONLY);
    if (null < 0 || dup2(null, 0) < 0 || dup2(out, 1) < 0 || dup2(out, 2) < 0 || chdir(folder) != 0) _exit(126);
    setenv("TMPDIR", folder, 1);
    setenv("PYTHONDONTWRITEBYTECODE", "1", 1);
    setenv("PIP_REQUIRE_VIRTUALENV", "0", 1); // nothing is installed
    execvp(argv[0], (char *const *)argv);
    dprintf(2, "ERROR: %s: %s\n", argv[0], strerror(errno));
    _exit(127);
}

// Reads what the child says, keeping the end of it, until it closes the pipe or the user interrupts.
static void listen_to_child(int fd, pid_t child, const char *folder, char *tail, fetch_progress tell, void *ctx) {
    size_t n = 0;
    bool killed = false;
    for (;;) {
        struct pollfd p = {.fd = fd, .events = POLLIN};
        int ready = poll(&p, 1, 100);
        if (fetch_interrupted && !killed) kill(-child, SIGTERM), killed = true;
        if (tell) tell(ctx, folder_bytes(folder));
        if (ready <= 0) continue;
        if (n > TAIL / 2) memmove(tail, tail + n - TAIL / 2, TAIL / 2), n = TAIL / 2;
        ssize_t got = read(fd, tail + n, TAIL - 1 - n);
        if (got < 0 && errno == EINTR) continue;
        if (got <= 0) break;
        n += (size_t)got;
    }
    tail[n] = '\0';
}

// Turns pip's last words into one line that says what to do.
static int explain_failure(const char *requirement, char *tail, int status, char *why, size_t cap) {
    static const struct { const char *sign, *meaning; } known[] = {
        {"No module named pip", "pip is not installed (Debian: apt install python3-pip)"},
        {"No space left on device", "the disk is full"},
        {"Disk quota exceeded", "the disk quota is used up"},
        {"Permission denied", "a file or folder may not be written"},
        {"Failed to establish a new connection", "the package index cannot be reached: is there a network?"},
        {"Temporary failure in name resolution", "the package index cannot be reached: is there a network?"},
        {"Name or service not known", "the package index cannot be reached: is there a network?"},
        {"Network is unreachable", "the package index cannot be reached: is there a network?"},
        {"Connection refused", "the package index cannot be reached: is there a network?"},
        {"ProxyError", "the proxy does not answer as it should"},
        {"SSLError", "the package index's certificate cannot be checked"},
        {"timed out", "the package index is too slow to answer"},
        {"No matching distribution", "the package index has no such package"},
    };
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (strstr(tail, known[i].sign)) return snprintf(why, cap, "%s: %s", requirement, known[i].meaning), -1;
    if (WIFEXITED(status) && WEXITSTATUS(status) == 127)
        return snprintf(why, cap, "%s cannot be started (Debian: apt install python3 python3-pip)", python()), -1;
    char *last = strstr(tail, "ERROR: ");
    for (char *next = last; next; next = strstr(next + 1, "ERROR: ")) last = next;
    if (last) last[strcspn(last, "\n")] = '\0';
    snprintf(why, cap, "%s: pip failed%s%.300s", requirement, last ? ": " : "", last ? last + strlen("ERROR: ") : "");
    return -1;
}

int fetch_wheel(const char *requirement, const char *folder, char *wheel, size_t cap, fetch_progress tell, void *ctx,
                char *why, size_t why_cap) {
    char tail[TAIL] = "", dest[PATH_MAX];
    int fds[2], status = 0;
    if (pipe2(fds, O_CLOEXEC) != 0) return snprintf(why, why_cap, "pipe: %s", strerror(errno)), -1;
    pid_t child = fork();
    if (child < 0) {
        snprintf(why, why_cap, "a process cannot be started: %s", strerror(errno));
        close(fds[0]), close(fds[1]);
        return -1;
    }
    if (child == 0) exec_pip(requirement, folder, fds[1]);
    setpgid(child, child); // here too: whoever comes first
    close(fds[1]);
    listen_to_child(fds[0], child, folder, tail, tell, ctx);
    close(fds[0]);
    while (waitpid(child, &status, 0) < 0 && errno == EINTR) {}
    if (fetch_interrupted) return snprintf(why, why_cap, "interrupted"), -1;
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) return explain_failure(requirement, tail, status, why, why_cap);
    snprintf(dest, sizeof dest, "%s/wheel", folder);
    if (!find_wheel(dest, wheel, cap)) return snprintf(why, why_cap, "%s: pip downloaded no wheel", requirement), -1;
    return 0;
}

// ---- zip ---------------------------------------------------------------------------------------
#define LIBARCHIVE_FUNCTIONS(F) \
    F(archive_read_new) F(archive_read_free) F(archive_read_support_format_zip) F(archive_read_open_filename) F(archive_read_next_header) \
    F(archive_read_data) F(archive_error_string) F(archive_entry_pathname) F(archive_entry_filetype)
static struct { LIBARCHIVE_FUNCTIONS(LATE_FIELD) } la;
static const char *const la_names[] = {LIBARCHIVE_FUNCTIONS(LATE_NAME) NULL};

static int write_all(int fd, const char *data, size_t n) {
    while (n > 0) {
        ssize_t done = write(fd, data, n);
        if (done < 0 && errno == EINTR) continue;
        if (done < 0) return -1;
        data += done;
        n -= (size_t)done;
    }
    return 0;
}

static int64_t copy_entry(struct archive *a, const char *name, int fd, int64_t limit, char *why, size_t cap) {
    char *chunk = malloc(CHUNK);
    int64_t total = 0;
    la_ssize_t got = chunk ? 1 : -1;
    if (!chunk) snprintf(why, cap, "out of memory");
    while (got > 0) {
        got = la.archive_read_data(a, chunk, CHUNK);
        if (got < 0) snprintf(why, cap, "%s: %.200s", name, la.archive_error_string(a));
        else if (fetch_interrupted) got = (snprintf(why, cap, "interrupted"), -1);
        else if (got > limit - total) got = (snprintf(why, cap, "%s is larger than the catalog says", name), -1);
        else if (write_all(fd, chunk, (size_t)got) != 0) got = (snprintf(why, cap, "cannot write: %s", strerror(errno)), -1);
        else total += got;
    }
    free(chunk);
    return got < 0 ? -1 : total;
}

int64_t fetch_extract(const char *wheel, const char *pattern, int fd, int64_t limit, char *why, size_t why_cap) {
    if (!late_load(LIBARCHIVE, la_names, &la, why, why_cap)) return -1;
    struct archive *a = la.archive_read_new();
    struct archive_entry *entry;
    int64_t total = -1;
    if (!a) return snprintf(why, why_cap, "out of memory"), -1;
    la.archive_read_support_format_zip(a);
    if (la.archive_read_open_filename(a, wheel, CHUNK) != ARCHIVE_OK) {
        snprintf(why, why_cap, "%s is not a zip archive: %.200s", wheel, la.archive_error_string(a));
        la.archive_read_free(a);
        return -1;
    }
    snprintf(why, why_cap, "%s has no file that matches %s", wheel, pattern);
    int status;
    while ((status = la.archive_read_next_header(a, &entry)) == ARCHIVE_OK) {
        const char *name = la.archive_entry_pathname(entry);
        if (!name || la.archive_entry_filetype(entry) != AE_IFREG || fnmatch(pattern, name, 0) != 0) continue;
        total = copy_entry(a, name, fd, limit, why, why_cap);
        break;
    }
    if (status != ARCHIVE_OK && status != ARCHIVE_EOF)
        snprintf(why, why_cap, "%s: %.200s", wheel, la.archive_error_string(a));
    la.archive_read_free(a);
    return total;
}

// ---- checksum ----------------------------------------------------------------------------------
int fetch_sha256(const char *path, char hex[65], fetch_progress tell, void *ctx, char *why, size_t why_cap) {
    if (!sha256_load(why, why_cap)) return -1;
    uint8_t digest[SHA256_DIGEST_SIZE], *chunk = malloc(CHUNK);
    struct sha256_ctx sha;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t got = 1;
    sha256.nettle_sha256_init(&sha);
    if (fd < 0 || !chunk) got = -1;
    for (int64_t done = 0; got > 0 && !fetch_interrupted; done += got) {
        got = read(fd, chunk, CHUNK);
        if (got > 0) sha256.nettle_sha256_update(&sha, (size_t)got, chunk);
        if (tell) tell(ctx, done);
    }
    if (got < 0) snprintf(why, why_cap, "%s: %s", path, strerror(errno));
    else if (fetch_interrupted) snprintf(why, why_cap, "interrupted");
    if (fd >= 0) close(fd);
    free(chunk);
    if (got < 0 || fetch_interrupted) return -1;
    sha256.nettle_sha256_digest(&sha, sizeof digest, digest);
    for (int i = 0; i < SHA256_DIGEST_SIZE; i++) snprintf(hex + 2 * i, 3, "%02x", digest[i]);
    return 0;
}
