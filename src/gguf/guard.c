// guard.c - a mapped file that shrinks, or a disk that fails, must not kill the process. Reading such a page raises
// SIGBUS in whichever thread touches it, which may be deep in a kernel; jumping out of there would leave locks and the
// thread team in an unknown state. So the handler puts zero pages in place of the missing ones, notes the loss in the
// mapping's slot and returns: the read continues with zeros, and gguf_check() reports the error at the next step.
//
// The handler is installed by the first gguf_open of a file, unless gguf_guard_disable() came first. Faults outside
// our mappings go to the handler that was there before. mmap and fstat are plain system calls on Linux, macOS and the
// BSDs and safe in a handler.
#include "gguf/internal.h"

#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

enum { SLOTS = 1024 };

typedef struct guard_slot {
    _Atomic uintptr_t base; // 0: free
    _Atomic size_t size;
    _Atomic int fd;
    _Atomic uint64_t lost;  // 1 + offset of the first page lost; 0: none
} guard_slot;

static guard_slot slots[SLOTS];
static pthread_mutex_t slots_lock = PTHREAD_MUTEX_INITIALIZER;
static struct sigaction previous;
static size_t page_size;
static bool installed, disabled;

// Replaces [page, ...) by zeros: everything beyond the file's present end at once, or this one page.
static bool overlay(guard_slot *slot, uintptr_t base, uintptr_t addr) {
    size_t size = atomic_load(&slot->size), at = (addr - base) / page_size * page_size, length = page_size;
    struct stat st;
    if (fstat(atomic_load(&slot->fd), &st) == 0 && st.st_size >= 0 && (uint64_t)st.st_size <= at) {
        size_t end = ((size_t)st.st_size + page_size - 1) / page_size * page_size;
        at = end < at ? end : at;
        length = size - at;
    }
    void *want = (void *)(base + at);
    void *got = mmap(want, length, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
    if (got != want) return false;
    uint64_t none = 0;
    atomic_compare_exchange_strong(&slot->lost, &none, (uint64_t)at + 1);
    return true;
}

static void on_sigbus(int sig, siginfo_t *info, void *context) {
    int saved = errno;
    uintptr_t addr = (uintptr_t)info->si_addr;
    for (int i = 0; info->si_code > 0 && i < SLOTS; i++) { // si_code <= 0: sent by a process, no fault
        uintptr_t base = atomic_load(&slots[i].base);
        if (!base || addr < base || addr - base >= atomic_load(&slots[i].size)) continue;
        bool done = overlay(&slots[i], base, addr);
        errno = saved;
        if (done) return;
        break;
    }
    if (previous.sa_flags & SA_SIGINFO) {
        previous.sa_sigaction(sig, info, context);
    } else if (previous.sa_handler == SIG_DFL || (previous.sa_handler == SIG_IGN && info->si_code > 0)) {
        sigaction(sig, &previous, NULL); // a fault repeats and takes its default course
        if (info->si_code <= 0) raise(sig);
    } else if (previous.sa_handler != SIG_IGN) {
        previous.sa_handler(sig);
    }
    errno = saved;
}

// With slots_lock held.
static bool install(void) {
    if (installed || disabled) return installed;
    page_size = (size_t)sysconf(_SC_PAGESIZE);
    struct sigaction action = {.sa_sigaction = on_sigbus, .sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER};
    sigemptyset(&action.sa_mask);
    installed = sigaction(SIGBUS, NULL, &previous) == 0 && sigaction(SIGBUS, &action, NULL) == 0;
    return installed;
}

void gguf_guard_disable(void) {
    pthread_mutex_lock(&slots_lock);
    disabled = true;
    pthread_mutex_unlock(&slots_lock);
}

int guard_add(const void *base, size_t size, int fd) {
    int slot = -1;
    pthread_mutex_lock(&slots_lock);
    for (int i = 0; install() && i < SLOTS; i++) {
        if (atomic_load(&slots[i].base)) continue;
        atomic_store(&slots[i].size, size);
        atomic_store(&slots[i].fd, fd);
        atomic_store(&slots[i].lost, 0);
        atomic_store(&slots[i].base, (uintptr_t)base); // last: the handler reads base first
        slot = i;
        break;
    }
    pthread_mutex_unlock(&slots_lock);
    return slot;
}

void guard_remove(int slot) {
    if (slot < 0) return;
    pthread_mutex_lock(&slots_lock);
    atomic_store(&slots[slot].base, 0);
    pthread_mutex_unlock(&slots_lock);
}

bool guard_lost(int slot, uint64_t *offset) {
    uint64_t lost = slot < 0 ? 0 : atomic_load_explicit(&slots[slot].lost, memory_order_acquire);
    if (lost && offset) *offset = lost - 1;
    return lost != 0;
}
