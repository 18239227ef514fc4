// select.c - which kernels this machine gets. Every table starts as `ref` and is overridden by each instruction set it
// stands on, weaker first. Tables are filled once, on first use, and never change after.
#include <pthread.h>

#include "cpu/linear.h"
#include "cpu/vec.h"

#if defined(__x86_64__)
#include <cpuid.h>
#endif
#if defined(__linux__)
#include <sys/auxv.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

// ---- what the processor and the system have --------------------------------------------------------
enum { HAS_AVX2 = 1, HAS_AVXVNNI = 2, HAS_AVX512 = 4, HAS_AMX = 8, HAS_DOTPROD = 16, HAS_I8MM = 32, HAS_BF16 = 64 }; // each a set of features, see isas[]

#if defined(__x86_64__)
typedef struct cpuid_regs {
    unsigned a, b, c, d;
} cpuid_regs;

static cpuid_regs cpuid(unsigned leaf, unsigned sub) {
    cpuid_regs r = {0};
    __get_cpuid_count(leaf, sub, &r.a, &r.b, &r.c, &r.d);
    return r;
}

static bool all_set(unsigned reg, unsigned bits) { return (reg & bits) == bits; }

static uint64_t saved_state(void) { // XCR0: register files that the system keeps across context switches
    unsigned low, high;
    __asm__("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return (uint64_t)high << 32 | low;
}

// Linux saves tile data only for processes that asked for it (arch_prctl, ARCH_REQ_XCOMP_PERM; Documentation/arch/x86/
// xstate.rst); it refuses when an alternate signal stack in use could not hold them.
static bool tiles_permitted(void) {
#if defined(__linux__)
    enum { ARCH_REQ_XCOMP_PERM = 0x1023, XFEATURE_XTILEDATA = 18 };
    return syscall(SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA) == 0;
#else
    return false;
#endif
}

// Bits: Intel SDM volume 2A, CPUID; AMD APM volume 3, appendix E.
static unsigned features(void) {
    cpuid_regs one = cpuid(1, 0), seven = cpuid(7, 0), more = cpuid(7, 1);
    if (!all_set(one.c, 1u << 27 | 1u << 28)) return 0; // OSXSAVE, AVX
    uint64_t state = saved_state();
    bool fma_f16c = all_set(one.c, 1u << 12 | 1u << 29);
    if ((state & 0x06) != 0x06 || !fma_f16c || !all_set(seven.b, 1u << 5)) return 0;
    unsigned has = HAS_AVX2;
    if (more.a >> 4 & 1) has |= HAS_AVXVNNI;
    unsigned f_dq_bw_vl = 1u << 16 | 1u << 17 | 1u << 30 | 1u << 31;
    if ((state & 0xe6) == 0xe6 && all_set(seven.b, f_dq_bw_vl) && seven.c >> 11 & 1) has |= HAS_AVX512; // and VNNI
    if ((has & HAS_AVX512) && more.a >> 5 & 1) has |= HAS_BF16;
    bool tiles = all_set(seven.d, 1u << 22 | 1u << 24 | 1u << 25) && (state & 0x60000) == 0x60000; // AMX-BF16, AMX-TILE, AMX-INT8
    if ((has & HAS_BF16) && tiles && tiles_permitted()) has |= HAS_AMX;
    return has;
}
#elif defined(__aarch64__) && defined(__linux__)
// Bits: Linux, arch/arm64/include/uapi/asm/hwcap.h.
static unsigned features(void) {
    enum { ASIMDDP = 1 << 20, I8MM = 1 << 13 };
    unsigned has = getauxval(AT_HWCAP) & ASIMDDP ? HAS_DOTPROD : 0;
    if (has && getauxval(AT_HWCAP2) & I8MM) has |= HAS_I8MM;
    return has;
}
#else
static unsigned features(void) { return 0; }
#endif

// ---- tables ----------------------------------------------------------------------------------------
static void fill_ref(cpu_kernels *k) {
    cpu_vec_ref(k);
    cpu_linear_ref(k);
}

#if defined(__x86_64__)
static void fill_avx2(cpu_kernels *k) {
    cpu_vec_avx2(k);
    cpu_linear_avx2(k);
}

static void fill_avxvnni(cpu_kernels *k) {
    fill_avx2(k);
    cpu_linear_avxvnni(k);
}

static void fill_avx512(cpu_kernels *k) {
    fill_avx2(k);
    cpu_vec_avx512(k);
    cpu_linear_avx512(k);
}

static void fill_avx512bf16(cpu_kernels *k) {
    fill_avx512(k);
    cpu_linear_avx512bf16(k);
}

static void fill_amx(cpu_kernels *k) {
    fill_avx512bf16(k);
    cpu_linear_amx(k);
}
#endif

#if defined(__aarch64__)
static void fill_neon(cpu_kernels *k) {
    cpu_vec_neon(k);
    cpu_linear_neon(k);
}

static void fill_dotprod(cpu_kernels *k) {
    fill_neon(k);
    cpu_linear_dotprod(k);
}

static void fill_i8mm(cpu_kernels *k) {
    fill_dotprod(k);
    cpu_linear_i8mm(k);
}
#endif

static const struct {
    const char *name;
    unsigned needs;
    void (*fill)(cpu_kernels *k);
} isas[] = { // from the least to the most preferred
    {"ref", 0, fill_ref},
#if defined(__x86_64__)
    {"avx2", HAS_AVX2, fill_avx2},
    {"avxvnni", HAS_AVX2 | HAS_AVXVNNI, fill_avxvnni},
    {"avx512", HAS_AVX2 | HAS_AVX512, fill_avx512},
    {"avx512bf16", HAS_AVX2 | HAS_AVX512 | HAS_BF16, fill_avx512bf16},
    {"amx", HAS_AVX2 | HAS_AVX512 | HAS_BF16 | HAS_AMX, fill_amx},
#endif
#if defined(__aarch64__)
    {"neon", 0, fill_neon},
    {"dotprod", HAS_DOTPROD, fill_dotprod},
    {"i8mm", HAS_DOTPROD | HAS_I8MM, fill_i8mm},
#endif
};
enum { ISA_COUNT = sizeof isas / sizeof *isas };

static cpu_kernels tables[ISA_COUNT];
static unsigned machine;
static pthread_once_t once = PTHREAD_ONCE_INIT;

static bool supported(int i) { return (isas[i].needs & ~machine) == 0; }

static void fill_tables(void) {
    machine = features();
    for (int i = 0; i < ISA_COUNT; i++) {
        if (!supported(i)) continue;
        fill_ref(&tables[i]);
        isas[i].fill(&tables[i]);
        tables[i].isa = isas[i].name;
    }
}

static tl_status unknown(const char *name, tl_error *err) {
    char shown[64], choices[128];
    size_t n = 0;
    for (int i = 0; i < ISA_COUNT; i++)
        n += (size_t)snprintf(choices + n, sizeof choices - n, "%s%s", i ? ", " : "", isas[i].name);
    str_escape(shown, sizeof shown, str_of(name));
    return err_set(err, TL_E_USAGE, "no instruction set \"%s\"; the choices are %s", shown, choices);
}

tl_status cpu_select(const char *isa, const cpu_kernels **out, tl_error *err) {
    pthread_once(&once, fill_tables);
    if (!isa || !*isa) isa = getenv("TL_CPU");
    if (!isa || !*isa) {
        int best = ISA_COUNT - 1;
        while (!supported(best)) best--;
        *out = &tables[best];
        return TL_OK;
    }
    for (int i = 0; i < ISA_COUNT; i++) {
        if (strcmp(isas[i].name, isa) != 0) continue;
        if (!supported(i)) return err_set(err, TL_E_UNSUPPORTED, "this machine lacks the instruction set %s", isa);
        *out = &tables[i];
        return TL_OK;
    }
    return unknown(isa, err);
}
