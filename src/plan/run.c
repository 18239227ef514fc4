// run.c - the life of a plan, the schedule for a row count, and the replay.
#include <setjmp.h>
#include <stdlib.h>

#include "plan/plan_int.h"

enum {
    SERIAL_NS = 1000,     // a stage cheaper than this for each thread is done by one while the others wait,
    SERIAL_MOST_NS = 4000, // and none that costs more
    UNIT_NS = 800,        // no unit of shared work is meant to be shorter
    THREAD_NS = 300,      // what a stage takes longer for each thread that shares it
    STOP_NS = 20000000,   // nor longer, where a run may be stopped
    UNITS_PER_THREAD = 16,
    TOGETHER = 4,         // groups of a matrix that kernels of several rows take at once,
    TILED_TOGETHER = 8,   // and from CPU_TILE rows on at least so many, since each call reads all of x
    PREFETCH_ROWS = 8,
    PREFETCH_IDLE = 128 << 10, // bytes that a waiting thread fetches ahead,
    PREFETCH_PIECE = 1 << 10,  // before it looks whether it need not wait any more,
    PREFETCH_BUSY = 2 << 10,   // and one that has something to do before
    GROUP_BYTES = 256 << 10, // activation rows of a LINEAR unit, but not fewer than
    GROUP_ROWS = 256,        // share the work of unpacking weights
    GROUP_STEP = 8,          // rows that kernels take together at most; from CPU_TILE rows on these
    LEAST_ROWS = 64,         // of a LINEAR unit that is cut for the sake of idle threads
    BLOCK_ROWS = 128,        // and of a thread's own block,
    BLOCK_GROUPS = 48,       // with at most so many groups of a stage's matrices for each thread,
    BLOCK_TOGETHER = 16,     // and at least so many of a unit
};

// ---- life ----------------------------------------------------------------------------------------
static tl_status check_limits(const plan_limits *m, tl_error *err) {
    if (m->max_rows < 1 || m->max_outs < 0 || m->max_slots < 0)
        return err_set(err, TL_E_USAGE, "a plan for %lld rows, %lld outputs, %lld slots", (long long)m->max_rows, (long long)m->max_outs, (long long)m->max_slots);
    return TL_OK;
}

static void collect_inputs(plan *p) {
    p->state_values = arena_array(&p->mem, int32_t, p->n_values + 1);
    p->input_values = arena_array(&p->mem, int32_t, p->n_values + 1);
    for (int32_t i = 0; i < p->n_values; i++) {
        const value *v = &p->values[i];
        if (v->place == V_WORK) p->base[i] = p->work + v->offset;
        if (v->place == V_FIXED) p->base[i] = (void *)v->fixed;
        if (v->place == V_STATE) p->state_values[p->n_state_values++] = i;
        if (v->place == V_INPUT) p->input_values[p->n_input_values++] = i;
    }
}

static tl_status plan_make(plan *p, const plan_backend *b, tl_error *err) {
    if (p->device && p->limits.device_layers) TL_TRY(plan_split(p, b, err));
    TL_TRY(plan_lower(p, b, err));
    TL_TRY(plan_stages(p, err));
    if (p->device) return gpu_make(p, b, err);
    TL_TRY(plan_memory(p, err));
    collect_inputs(p);
    p->phases = arena_array(&p->mem, phase, p->n_stages + 1);
    p->loops = arena_array(&p->mem, pool_loop, p->n_stages + 1);
    return TL_OK;
}

static void init_teams(plan *p) {
    const char *given = getenv("TL_TEAM");
    long n = given ? strtol(given, NULL, 10) : 0;
    p->given_team = n < 0 ? 0 : n < p->n_threads ? (int)n : p->n_threads;
    for (int i = 0; i <= TEAM_ROWS; i++) team_init(&p->teams[i], p->n_threads);
}

static void arena_full(void *ctx, size_t size) {
    (void)size;
    longjmp(*(jmp_buf *)ctx, 1);
}

tl_status plan_new(const ir_graph *g, const plan_backend *b, const plan_limits *limits, plan **out, tl_error *err) {
    return plan_new_part(g, b, limits, NULL, out, err);
}

tl_status plan_new_part(const ir_graph *g, const plan_backend *b, const plan_limits *limits, const plan_part *part, plan **out, tl_error *err) {
    *out = NULL;
    TL_TRY(check_limits(limits, err));
    plan *p = mem_calloc(1, sizeof *p);
    if (!p) return err_set(err, TL_E_MEMORY, "out of memory for a plan");
    p->k = b->k;
    p->threads = b->threads;
    p->device = b->device;
    p->n_threads = pool_size(b->threads);
    init_teams(p);
    p->limits = *limits;
    p->graph = g;
    if (part) p->mine = part->mine, p->passed = part->passed, p->n_passed = part->n_passed;
    p->rows = p->outs = -1;
    jmp_buf full; // everything that a pass makes is in the arena, so that leaving it in the middle loses nothing
    p->mem.on_fail = arena_full;
    p->mem.fail_ctx = &full;
    tl_status status = setjmp(full) ? err_set(err, TL_E_MEMORY, "out of memory for a plan") : plan_make(p, b, err);
    weight_room_leave(p->room);
    p->room = NULL;
    if (status != TL_OK) plan_free(p);
    else *out = p;
    return status;
}

void plan_free(plan *p) {
    if (!p) return;
    plan_free(p->front);
    if (p->device) gpu_free(p);
    for (int i = 0; i < p->n_attn_work; i++) mem_free_aligned(p->attn_work[i]);
    mem_free(p->profile);
    mem_free(p->meant);
    mem_free(p->events);
    mem_free_aligned(p->event_counts);
    mem_free_aligned(p->work);
    mem_free_aligned(p->scratch);
    arena_free(&p->mem);
    mem_free(p);
}

// ---- schedule ------------------------------------------------------------------------------------
int64_t item_rows(const plan *p, const item *it) {
    const kernel *k = p->kernels[it->first];
    return sym_rows(p, k->sym, k->fixed);
}

static int64_t divide_up(int64_t a, int64_t b) { return (a + b - 1) / b; }

static int64_t linear_groups(const linear_args *l) {
    return divide_up(l->row0 + l->n, CPU_ROW_GROUP) - l->row0 / CPU_ROW_GROUP;
}

static int64_t flat_chunks(const ir_node *n) { return divide_up(n->size[n->nout - 1], FLAT_RUN); }

// Cuts each of an item's blocks into units of about `target` ns; products of many rows may take `most`.
static void cut_item(const plan *p, item *it, double target, double most) {
    const kernel *k = p->kernels[it->first];
    double cost = it->cost > 1 ? it->cost : 1;
    it->chunk = 1;
    it->row_block = it->block_rows;
    if (it->rows == 0) {
        it->units = 0;
        return;
    }
    int64_t block = (int64_t)(target / cost);
    if (block < 1) block = 1;
    switch (it->kind) {
    case K_ROW: case K_RANGE:
        if (it->kind == K_ROW && it->rows <= TEAM_ROWS && cost < SERIAL_MOST_NS && block < divide_up(it->rows, p->team)) block = divide_up(it->rows, p->team); // calls cost most
        it->row_block = block < it->block_rows ? block : it->block_rows;
        it->units = divide_up(it->block_rows, it->row_block);
        break;
    case K_WHOLE: case K_ATTN: it->units = 1; break;
    case K_FLAT: it->units = it->rows * flat_chunks(k->node); break;
    case K_TILE: {
        const linear_args *l = k->args;
        int64_t groups = linear_groups(l), fit = GROUP_BYTES / (int64_t)(l->x_bytes + 1) + 1;
        if (fit < GROUP_ROWS) fit = GROUP_ROWS;
        int64_t step = it->rows < CPU_TILE ? GROUP_STEP : CPU_TILE;
        it->row_block = divide_up(divide_up(it->block_rows, divide_up(it->block_rows, fit)), step) * step; // parts of about equal size
        it->chunk = (int64_t)(target * (double)groups / (cost * (double)it->row_block));
        if (it->rows > 1) it->chunk = divide_up(it->chunk, TOGETHER) * TOGETHER;
        int64_t least = it->blocks > 1 ? BLOCK_TOGETHER : it->rows < CPU_TILE ? 1 : TILED_TOGETHER;
        if (it->chunk < least) it->chunk = least;
        if (it->chunk > groups) it->chunk = groups;
        while (it->row_block > LEAST_ROWS && cost * (double)(it->row_block * it->chunk) > most * (double)groups)
            it->row_block = divide_up(it->row_block / 2, step) * step;
        it->units = divide_up(groups, it->chunk) * divide_up(it->block_rows, it->row_block);
        break;
    }
    }
    it->units *= it->blocks;
}

// Threads that share a stage of `total` ns: total / n + THREAD_NS * n is least for the root of total / THREAD_NS.
static int stage_threads(const plan *p, double total) {
    int n = 2;
    while (n < p->team && (double)n * n * THREAD_NS < total) n++;
    return n < p->team ? n : p->team;
}

// Blocks of rows that a stage is cut into first, one for each thread, or 1. A thread then finds what it made in the stage before, and
// narrow products leave none of them with a larger share; but each unpacks all weights. Wide ones are cut by their columns instead.
static int stage_blocks(const plan *p, const stage *s, int threads) {
    int64_t groups = 0;
    if (threads < p->team || p->step.rows / threads <= BLOCK_ROWS - CPU_TILE) return 1;
    for (int i = 0; i < s->n; i++) {
        const item *it = &p->items[s->first + i];
        if (it->sym != SYM_ROWS || (it->kind != K_ROW && it->kind != K_TILE)) return 1;
        if (it->kind == K_TILE) groups += linear_groups(p->kernels[it->first]->args);
    }
    return groups <= (int64_t)threads * BLOCK_GROUPS ? threads : 1;
}

static void schedule_stage(plan *p, stage *s, phase *ph, bool *serial) {
    double total = 0;
    bool attention = false;
    for (int i = 0; i < s->n; i++) {
        const item *it = &p->items[s->first + i];
        total += it->cost * (double)item_rows(p, it);
        attention |= it->kind == K_ATTN;
    }
    double worth = p->team * SERIAL_NS < SERIAL_MOST_NS ? p->team * SERIAL_NS : SERIAL_MOST_NS;
    *serial = p->team == 1 || (total < worth && !attention);
    ph->threads = attention ? p->team : stage_threads(p, total);
    double target = *serial ? 1e18 : total / (ph->threads * UNITS_PER_THREAD), most = *serial ? 1e18 : total / (ph->threads * 2);
    if (target < UNIT_NS) target = UNIT_NS;
    if (most < target) most = target;
    if (p->limits.stop && target > STOP_NS) target = STOP_NS;
    if (p->limits.stop && most > STOP_NS) most = STOP_NS;
    s->blocks = *serial ? 1 : stage_blocks(p, s, ph->threads);
    for (int i = 0; i < s->n; i++) {
        item *it = &p->items[s->first + i];
        bool rows = it->kind == K_ROW;
        it->rows = item_rows(p, it);
        it->blocks = s->blocks;
        it->block_rows = divide_up(it->rows, s->blocks);
        if (it->blocks > 1) it->block_rows = divide_up(it->block_rows, CPU_TILE) * CPU_TILE;
        cut_item(p, it, rows && target > 20000 ? 20000 : target, most); // rows of a group stay in the cache from kernel to kernel
    }
}

void plan_schedule(plan *p) {
    p->n_phases = 0;
    phase *now = &p->phases[p->n_phases++];
    *now = (phase){.stage = -1};
    for (int s = 0; s < p->n_stages; s++) {
        bool serial;
        phase next = {.stage = s, .tail0 = s + 1, .tail1 = s + 1};
        schedule_stage(p, &p->stages[s], &next, &serial);
        if (serial) {
            now->tail1 = s + 1;
            continue;
        }
        now = &p->phases[p->n_phases++];
        *now = next;
    }
    p->rows = p->step.rows;
    p->outs = p->step.outs;
}

// ---- stopping ------------------------------------------------------------------------------------
bool plan_stopped(const plan *p) {
    plan_stop *s = p->limits.stop;
    if (!s) return false;
    if (!s->hit && s->wanted(s->ctx)) s->hit = true;
    return s->hit;
}

// ---- replay --------------------------------------------------------------------------------------
// Rows [*r0, *r1) of an item's unit, the i'th of its block; units of a LINEAR: pieces of the matrix, for each the block's rows.
static void unit_rows(const item *it, int64_t block, int64_t i, int64_t *r0, int64_t *r1) {
    int64_t end = (block + 1) * it->block_rows;
    *r0 = block * it->block_rows + i * it->row_block;
    *r1 = *r0 + it->row_block;
    if (*r1 > end) *r1 = end;
    if (*r1 > it->rows) *r1 = it->rows;
}

// Units [u0, u1) of a LINEAR: blocks of rows, of each all pieces of the matrix, of each piece the parts of the block.
static void run_tiles(const plan *p, const item *it, int64_t u0, int64_t u1, int thread) {
    const kernel *k = p->kernels[it->first];
    int64_t parts = divide_up(it->block_rows, it->row_block), groups = linear_groups(k->args), each = it->units / it->blocks, next;
    for (int64_t u = u0; u < u1; u = next) {
        int64_t block = u / each, r0, r1;
        next = u + 1;
        if (parts == 1) next = u1 < (block + 1) * each ? u1 : (block + 1) * each; // all in one call
        int64_t n0 = u % each / parts * it->chunk, n1 = n0 + divide_up(next - u, parts) * it->chunk;
        unit_rows(it, block, u % each % parts, &r0, &r1);
        if (r0 < r1) run_linear(p, k, n0, n1 < groups ? n1 : groups, r0, r1, thread);
    }
}

// Kernel i of the item, for unit u.
static void run_kernel(const plan *p, const item *it, int i, int64_t u, int thread) {
    const kernel *k = p->kernels[it->first + i];
    switch (it->kind) {
    case K_TILE: run_tiles(p, it, u, u + 1, thread); break;
    case K_ROW: case K_RANGE: {
        int64_t each = it->units / it->blocks, r0, r1;
        unit_rows(it, u / each, u % each, &r0, &r1);
        if (r0 < r1) k->run(p, k, r0, r1, thread);
        break;
    }
    case K_WHOLE: k->run(p, k, 0, it->rows, thread); break;
    case K_FLAT: case K_ATTN: k->run(p, k, u, u + 1, thread); break;
    }
}

// All kernels of a row group, for unit u.
static void run_rows(const plan *p, const item *it, int64_t u, int thread) {
    int64_t each = it->units / it->blocks, r0, r1;
    unit_rows(it, u / each, u % each, &r0, &r1);
    if (r0 >= r1) return;
    for (int i = 0; i < it->n; i++) {
        kernel *const *k = &p->kernels[it->first + i];
        if (k[0]->followers) run_add_norm(p, k, r0, r1, thread);
        else k[0]->run(p, k[0], r0, r1, thread);
        i += k[0]->followers;
    }
}

static void run_profiled(const plan *p, const item *it, int i, int64_t u, int thread) {
    double start = clock_ns();
    run_kernel(p, it, i, u, thread);
    struct profile_cell *c = &p->profile[(int64_t)thread * p->n_kernels + it->first + i];
    double took = clock_ns() - start;
    c->ns += took;
    c->units++;
    if (!p->events) return;
    size_t n = p->event_counts[thread].n++;
    if (n < p->most_events)
        p->events[(size_t)thread * p->most_events + n] = (plan_event){it->first + i, (int32_t)it->units, start, took};
}

static void run_units(plan *p, const item *it, int64_t u0, int64_t u1, int thread, bool timed) {
    if (u0 >= u1) return;
    double start = timed ? clock_ns() : 0;
    if (it->kind == K_TILE && !p->profile) run_tiles(p, it, u0, u1, thread);
    else
        for (int64_t u = u0; u < u1 && !plan_stopped(p); u++) {
            if (it->kind == K_ROW && !p->profile) {
                run_rows(p, it, u, thread);
                continue;
            }
            for (int i = 0; i < it->n; i++) {
                if (p->profile) run_profiled(p, it, i, u, thread);
                else run_kernel(p, it, i, u, thread);
            }
        }
    if (timed) p->kernel_ns += clock_ns() - start;
}

static void run_tail(plan *p, const phase *ph, int thread) {
    for (int s = ph->tail0; s < ph->tail1; s++)
        for (int i = 0; i < p->stages[s].n; i++) {
            const item *it = &p->items[p->stages[s].first + i];
            run_units(p, it, 0, it->units, thread, p->measure);
            if (p->meant && i + 1 == p->stages[s].n) check_stage(p, s);
        }
}

// Units of a stage: blocks of rows, of each all items' units.
static void run_range(plan *p, const stage *s, int64_t u0, int64_t u1, int thread) {
    for (int64_t block = 0, base = 0; block < s->blocks; block++)
        for (int i = 0; i < s->n && base < u1; i++) {
            const item *it = &p->items[s->first + i];
            int64_t each = it->units / s->blocks, from = u0 - base, to = u1 - base;
            base += each;
            if (from >= each) continue;
            run_units(p, it, block * each + (from > 0 ? from : 0), block * each + (to < each ? to : each), thread, p->measure && thread == 0);
        }
}

// ---- the chain of shared stages ------------------------------------------------------------------
static void chain_work(void *ctx, int loop, int64_t begin, int64_t end, int thread) {
    plan *p = ctx;
    mem_forbid(true);
    run_range(p, &p->stages[p->phases[loop + 1].stage], begin, end, thread);
    mem_forbid(false);
}

// Bytes [from, to) of the weights that this thread will read first in the stage after loop `loop`, while memory would idle. Few rows
// only: else there is work enough for each byte. False: there are no more.
static bool prefetch_next(const plan *p, int loop, int thread, size_t from, size_t to) {
    if (loop + 2 >= p->n_phases) return false;
    const pool_loop *next = &p->loops[loop + 1];
    if (thread >= next->threads || next->units < next->threads) return false;
    int64_t u = pool_owned(next, thread), share = pool_owned(next, thread + 1) - u;
    const item *it = &p->items[p->stages[p->phases[loop + 2].stage].first];
    while (u >= it->units) u -= it->units, it++;
    if (it->kind != K_TILE || it->rows > PREFETCH_ROWS) return false;
    const linear_args *l = p->kernels[it->first]->args;
    int64_t group = l->row0 / CPU_ROW_GROUP + u * it->chunk; // one block of so few rows
    size_t bytes = (size_t)(share * it->chunk) * l->group_bytes;
    const char *data = (const char *)l->m.data + (size_t)group * l->group_bytes;
    size_t end = (size_t)divide_up(l->m.n, CPU_ROW_GROUP) * l->group_bytes - (size_t)group * l->group_bytes;
    if (bytes > end) bytes = end;
    for (size_t i = from; i < to && i < bytes; i += LINE) __builtin_prefetch(data + i, 0, 2);
    return to < bytes;
}

static void chain_then(void *ctx, int loop, int thread) {
    plan *p = ctx;
    const phase *ph = &p->phases[loop + 1];
    mem_forbid(true);
    prefetch_next(p, loop, thread, 0, PREFETCH_BUSY);
    if (p->meant) check_stage(p, ph->stage);
    run_tail(p, ph, thread);
    mem_forbid(false);
}

static bool chain_early(void *ctx, int loop, int thread, int64_t i) {
    size_t from = (size_t)i * PREFETCH_PIECE;
    return from < PREFETCH_IDLE && prefetch_next(ctx, loop, thread, from, from + PREFETCH_PIECE);
}

static tl_status check_step(const plan *p, const plan_step *s, tl_error *err) {
    if (s->rows < 0 || s->rows > p->limits.max_rows || s->outs < 0 || s->outs > p->limits.max_outs)
        return err_set(err, TL_E_LIMIT, "a step of %lld rows and %lld outputs: the plan is made for %lld and %lld", (long long)s->rows, (long long)s->outs,
                       (long long)p->limits.max_rows, (long long)p->limits.max_outs);
    static const char *const names[INPUT_COUNT] = {"tok", "pos", "seq", "slot", "out"};
    for (int i = 0; i < p->n_input_values; i++) {
        int which = p->values[p->input_values[i]].input;
        if (!s->in[which] && (which == INPUT_OUT ? s->outs : s->rows) > 0) return err_set(err, TL_E_USAGE, "the step has no `%s`", names[which]);
    }
    for (int i = 0; i < p->n_attns; i++) {
        const int32_t *seq = s->in[INPUT_SEQ];
        for (int64_t r = 0; seq && r < s->rows; r++)
            if (seq[r] < 0 || seq[r] >= s->n_seqs) return err_set(err, TL_E_USAGE, "row %lld belongs to sequence %d of %lld", (long long)r, seq[r], (long long)s->n_seqs);
        break;
    }
    return TL_OK;
}

// ---- the threads of a step -----------------------------------------------------------------------
int plan_workers(const plan *p, int64_t rows) {
    if (p->device) return 1;
    if (rows < 1 || rows > TEAM_ROWS) return p->n_threads;
    return p->given_team ? p->given_team : team_in_force(&p->teams[rows]);
}

// Steps that give all their rows' outputs are a kind that can be compared; what a profile's clocks slow down is not.
static bool team_learns(const plan *p) {
    int64_t rows = p->step.rows;
    return p->n_threads > 2 && rows > 0 && rows <= TEAM_ROWS && p->step.outs == rows && !p->given_team && !p->profile && !p->meant;
}

static int step_team(const plan *p) { return team_learns(p) ? team_size(&p->teams[p->step.rows]) : plan_workers(p, p->step.rows); }

static void prepare_run(plan *p, const plan_step *s) {
    p->step = *s;
    for (int i = 0; i < p->n_input_values; i++) p->base[p->input_values[i]] = (void *)s->in[p->values[p->input_values[i]].input];
    for (int i = 0; i < p->n_state_values; i++) p->base[p->state_values[i]] = p->values[p->state_values[i]].state->data;
    for (int i = 0; i < p->n_early; i++) p->early[i]->run(p, p->early[i], 0, sym_rows(p, p->early[i]->sym, p->early[i]->fixed), 0);
    for (int i = 0; i < p->n_attns; i++) attn_fill(p, p->attns[i]);
    int team = step_team(p);
    if (s->rows != p->rows || s->outs != p->outs || team != p->team) {
        p->team = team;
        plan_schedule(p);
    }
    for (int i = 0; i < p->n_items; i++)
        if (p->items[i].kind == K_ATTN) p->items[i].units = p->items[i].rows ? attn_items(&((attn_plan *)p->kernels[p->items[i].first]->args)->a) : 0;
    for (int i = 1; i < p->n_phases; i++) {
        const stage *st = &p->stages[p->phases[i].stage];
        p->loops[i - 1] = (pool_loop){.threads = p->phases[i].threads};
        // A thread then attends for rows like those that it has in the stages around: attention counts its items from the last row.
        p->loops[i - 1].backward = p->items[st->first].kind == K_ATTN && p->step.rows >= CPU_TILE;
        for (int j = 0; j < st->n; j++) p->loops[i - 1].units += p->items[st->first + j].units;
    }
}

tl_status plan_run(plan *p, const plan_step *step, tl_error *err) {
    TL_TRY(check_step(p, step, err));
    if (p->device) {
        if (p->front) TL_TRY(plan_run(p->front, step, err));
        p->step = *step;
        return gpu_run(p, err);
    }
    double start = clock_ns();
    p->kernel_ns = 0;
    p->fault = (plan_fault){0};
    mem_forbid(true);
    prepare_run(p, step);
    run_tail(p, &p->phases[0], 0);
    mem_forbid(false);
    pool_chain chain = {.loops = p->loops, .n = p->n_phases - 1, .work = chain_work, .then = chain_then, .early = chain_early, .ctx = p};
    pool_team(p->threads, p->team);
    if (chain.n) pool_run_chain(p->threads, &chain);
    p->total_ns = clock_ns() - start;
    p->outside_ns = p->total_ns - p->kernel_ns;
    if (team_learns(p)) team_took(&p->teams[step->rows], p->total_ns);
    if (p->limits.stop && p->limits.stop->hit) return err_set(err, TL_E_CANCELLED, "stopped");
    return TL_OK;
}

// ---- results -------------------------------------------------------------------------------------
tl_status plan_fetch(const plan *p, int i, const void **out, tl_error *err) {
    *out = NULL;
    if (i < 0 || i >= p->n_outputs) return TL_OK;
    if (p->device) return gpu_value(p, p->out_value[i], out, err);
    *out = p->base[p->out_value[i]];
    return TL_OK;
}

const void *plan_output(const plan *p, int i) {
    const void *out;
    (void)plan_fetch(p, i, &out, NULL);
    return out;
}

const void *plan_output_on_device(const plan *p, int i) { return p->device && i >= 0 && i < p->n_outputs ? p->base[p->out_value[i]] : NULL; }

const void *plan_value(const plan *p, const ir_node *n) {
    while (n->repl) n = n->repl;
    if (n->id < 0 || n->id >= p->n_nodes || !n->keep) return NULL;
    if (p->front && p->node_value[n->id] < 0) return plan_value(p->front, n);
    int32_t v = p->node_value[n->id];
    const void *out;
    if (v >= 0 && p->device) return (void)gpu_value(p, v, &out, NULL), out;
    return v < 0 ? NULL : p->base[v];
}

size_t plan_workspace_bytes(const plan *p) { return p->work_bytes + (p->front ? p->front->work_bytes : 0); }

void plan_measure(plan *p, bool on) { p->measure = on; }

void plan_timing(const plan *p, double *outside_ns, double *total_ns) {
    *outside_ns = p->outside_ns;
    *total_ns = p->total_ns;
}

tl_status plan_profile(plan *p, bool on, tl_error *err) {
    if (p->front) TL_TRY(plan_profile(p->front, on, err));
    mem_free(p->profile);
    p->profile = NULL;
    if (!on) return TL_OK;
    p->profile = mem_calloc((size_t)p->n_kernels * (size_t)p->n_threads + 1, sizeof *p->profile);
    return p->profile ? TL_OK : err_set(err, TL_E_MEMORY, "out of memory for a profile");
}

tl_status plan_record(plan *p, size_t most, tl_error *err) {
    size_t bytes, threads = (size_t)p->n_threads, counts = threads * sizeof *p->event_counts;
    mem_free(p->events);
    mem_free_aligned(p->event_counts);
    p->events = NULL, p->event_counts = NULL;
    p->most_events = most;
    if (!most) return TL_OK;
    p->event_counts = mem_alloc_aligned(counts, LINE);
    if (p->event_counts && size_mul(most, threads, &bytes) && size_mul(bytes, sizeof *p->events, &bytes)) p->events = mem_alloc(bytes);
    if (!p->events) return err_set(err, TL_E_MEMORY, "out of memory for %zu records of kernels", most);
    memset(p->event_counts, 0, counts);
    return TL_OK;
}

size_t plan_record_room(const plan *p) { return p->most_events; }

const plan_event *plan_recorded(const plan *p, int thread, size_t *n) {
    *n = p->events ? p->event_counts[thread].n : 0;
    return p->events ? p->events + (size_t)thread * p->most_events : NULL;
}

size_t plan_matrix_reads(const plan *p, read_stretch *list) {
    size_t n = 0;
    for (int i = 0; i < p->n_kernels && !p->device; i++) {
        if (p->kernels[i]->kind != K_TILE) continue;
        const linear_args *l = p->kernels[i]->args;
        size_t first = (size_t)(l->row0 / CPU_ROW_GROUP) * l->group_bytes;
        if (l->m.layout == 0) first = (size_t)l->row0 * l->m.row_bytes;
        list[n++] = (read_stretch){(const char *)l->m.data + first, l->m.layout ? (size_t)linear_groups(l) * l->group_bytes : (size_t)l->n * l->m.row_bytes};
    }
    return n;
}

int plan_kernel_count(const plan *p) { return p->n_kernels + (p->front ? p->front->n_kernels : 0); }

plan_kernel_time plan_kernel_timing(const plan *p, int i) {
    if (i >= p->n_kernels) {
        plan_kernel_time f = plan_kernel_timing(p->front, i - p->n_kernels);
        f.ns /= p->n_threads; // the device's time is nobody's sum
        return f;
    }
    const kernel *k = p->kernels[i];
    plan_kernel_time t = {.kernel = kernel_name(k), .node = k->node, .stage = k->stage};
    for (int th = 0; p->profile && th < p->n_threads; th++) {
        t.ns += p->profile[(int64_t)th * p->n_kernels + i].ns;
        t.units += p->profile[(int64_t)th * p->n_kernels + i].units;
    }
    return t;
}
