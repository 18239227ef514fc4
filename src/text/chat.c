// chat.c - chat templates over the Jinja interpreter, and the table of built-in ones.
#include "text/chat.h"

#include <utf8proc.h>

struct chat_template {
    jinja *jinja;
};

tl_status chat_template_new(str source, chat_template **out, tl_error *err) {
    *out = NULL;
    jinja *j;
    TL_TRY(jinja_compile(source, &j, err));
    chat_template *t = mem_alloc(sizeof *t);
    if (!t) {
        jinja_free(j);
        return err_set(err, TL_E_MEMORY, "out of memory");
    }
    t->jinja = j;
    *out = t;
    return TL_OK;
}

void chat_template_free(chat_template *t) {
    if (!t) return;
    jinja_free(t->jinja);
    mem_free(t);
}

bool chat_template_takes_tools(const chat_template *t) { return jinja_uses(t->jinja, "tools"); }

// ---- rendering -----------------------------------------------------------------------------------
// Roles that templates spell special tokens with ('<|' + role + '|>'); a role of any other name is plain text.
static const char *const roles[] = {"system", "user", "assistant", "tool", "developer", "function", "model",
                                    "ipython", "observation", "tool_response", "control", "documents", NULL};

static tl_status set_or_none(jinja_ctx *c, const char *name, const json_t *value, tl_error *err) {
    return value ? jinja_set_json(c, name, value, true, err) : jinja_set_none(c, name, err);
}

static tl_status set_inputs(jinja_ctx *c, const chat_input *in, tl_error *err) {
    if (in->bos) TL_TRY(jinja_set_str(c, "bos_token", str_of(in->bos), false, err));
    if (in->eos) TL_TRY(jinja_set_str(c, "eos_token", str_of(in->eos), false, err));
    jinja_ctx_clean(c, "role", roles);
    TL_TRY(jinja_set_json(c, "messages", in->messages, true, err));
    TL_TRY(set_or_none(c, "tools", in->tools, err));
    TL_TRY(jinja_set_none(c, "documents", err));
    TL_TRY(jinja_set_bool(c, "add_generation_prompt", in->reply, err));
    const char *name;
    json_t *value;
    json_object_foreach((json_t *)in->vars, name, value) TL_TRY(jinja_set_json(c, name, value, true, err));
    return TL_OK;
}

static tl_status check_input(const chat_input *in, tl_error *err) {
    if (!json_is_array(in->messages)) return err_set(err, TL_E_USAGE, "messages must be a JSON array");
    for (size_t i = 0; i < json_array_size(in->messages); i++)
        if (!json_is_string(json_object_get(json_array_get(in->messages, i), "role")))
            return err_set(err, TL_E_USAGE, "message %zu must be an object with a role", i);
    if (in->tools && !json_is_array(in->tools)) return err_set(err, TL_E_USAGE, "tools must be a JSON array");
    if (in->vars && !json_is_object(in->vars)) return err_set(err, TL_E_USAGE, "template variables must be a JSON object");
    return TL_OK;
}

static void add_segment(chat_text *t, size_t begin, size_t end, bool tainted) {
    if (begin < end) t->segments[t->n_segments++] = (chat_segment){begin, end - begin, tainted};
}

static tl_status take_output(const jinja_output *o, chat_text *out, tl_error *err) {
    out->segments = mem_calloc(2 * o->n_taint + 1, sizeof *out->segments);
    if (!out->segments) return err_set(err, TL_E_MEMORY, "out of memory");
    size_t at = 0;
    for (size_t i = 0; i < o->n_taint; i++) {
        add_segment(out, at, o->taint[i].begin, false);
        add_segment(out, o->taint[i].begin, o->taint[i].end, true);
        at = o->taint[i].end;
    }
    add_segment(out, at, o->n, false);
    out->text = o->text;
    out->n = o->n;
    return TL_OK;
}

tl_status chat_render(const chat_template *t, const chat_input *in, chat_text *out, tl_error *err) {
    memset(out, 0, sizeof *out);
    TL_TRY(check_input(in, err));
    jinja_ctx *c;
    jinja_output o = {0};
    TL_TRY(jinja_ctx_new(&(jinja_limits){.now = in->now}, &c, err));
    tl_status code = set_inputs(c, in, err);
    if (code == TL_OK) code = jinja_render(t->jinja, c, &o, err);
    if (code == TL_OK) code = take_output(&o, out, err);
    if (code == TL_OK) o.text = NULL; // now *out's
    jinja_output_free(&o);
    jinja_ctx_free(c);
    return code;
}

void chat_text_free(chat_text *t) {
    mem_free(t->text);
    mem_free(t->segments);
    memset(t, 0, sizeof *t);
}

// ---- messages ------------------------------------------------------------------------------------
static json_t *json_text(const char *s) { // with U+FFFD for what is not UTF-8
    json_t *plain = json_string(s);
    if (plain) return plain;
    sbuf b = {0};
    for (size_t i = 0, n = strlen(s); i < n;) {
        utf8proc_int32_t cp;
        utf8proc_ssize_t used = utf8proc_iterate((const utf8proc_uint8_t *)s + i, (utf8proc_ssize_t)(n - i), &cp);
        if (used > 0) sbuf_put(&b, s + i, (size_t)used);
        else sbuf_puts(&b, "\xef\xbf\xbd");
        i += used > 0 ? (size_t)used : 1;
    }
    json_t *out = b.failed ? NULL : json_stringn(b.p ? b.p : "", b.n);
    sbuf_free(&b);
    return out;
}

static bool append_message(json_t *list, const tl_message *m) {
    json_t *o = json_object();
    bool ok = o && json_object_set_new(o, "role", json_text(m->role)) == 0 &&
              json_object_set_new(o, "content", json_text(m->content)) == 0 && json_array_append(list, o) == 0;
    json_decref(o);
    return ok;
}

tl_status chat_messages(const tl_message *messages, size_t n, json_t **out, tl_error *err) {
    json_t *list = *out = json_array();
    for (size_t i = 0; list && i < n; i++) {
        bool given = messages[i].role && messages[i].content;
        if (given && append_message(list, &messages[i])) continue;
        json_decref(list);
        list = *out = NULL;
        if (!given) return err_set(err, TL_E_USAGE, "message %zu has no role or no content", i);
    }
    return list ? TL_OK : err_set(err, TL_E_MEMORY, "out of memory");
}

// ---- built-in templates --------------------------------------------------------------------------
#define LOOP "{% for m in messages %}"
static const struct builtin {
    const char *name, *tokens[3], *source;
} builtins[] = {
    {"chatml",
     {"<|im_start|>", "<|im_end|>"},
     LOOP "{{ '<|im_start|>' + m.role + '\\n' + m.content + '<|im_end|>\\n' }}{% endfor %}"
          "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"},
    {"header",
     {"<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"},
     "{{ bos_token }}" LOOP
     "{{ '<|start_header_id|>' + m.role + '<|end_header_id|>\\n\\n' + m.content|trim + '<|eot_id|>' }}"
     "{% endfor %}{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}{% endif "
     "%}"},
    {"turn",
     {"<start_of_turn>", "<end_of_turn>"}, // has no system role: its text opens the first user turn
     "{{ bos_token }}{% set ns = namespace(system='') %}" LOOP
     "{% if m.role == 'system' %}{% set ns.system = m.content|trim + '\\n\\n' %}{% else %}"
     "{{ '<start_of_turn>' + ('model' if m.role == 'assistant' else m.role) + '\\n' }}"
     "{% if m.role == 'user' %}{{ ns.system }}{% set ns.system = '' %}{% endif %}"
     "{{ m.content|trim + '<end_of_turn>\\n' }}{% endif %}{% endfor %}"
     "{% if add_generation_prompt %}{{ '<start_of_turn>model\\n' }}{% endif %}"},
    {"role tags",
     {"<|user|>", "<|assistant|>", "<|end|>"},
     LOOP "{{ '<|' + m.role + '|>\\n' + m.content + '<|end|>\\n' }}{% endfor %}"
          "{% if add_generation_prompt %}{{ '<|assistant|>\\n' }}{% endif %}"},
};

static bool fits(const struct builtin *b, bool (*has)(void *ctx, const char *token), void *ctx) {
    for (size_t i = 0; i < 3 && b->tokens[i]; i++)
        if (!has(ctx, b->tokens[i])) return false;
    return true;
}

const char *chat_builtin(bool (*has)(void *ctx, const char *token), void *ctx, const char **name) {
    for (size_t i = 0; i < sizeof builtins / sizeof *builtins; i++) {
        if (!fits(&builtins[i], has, ctx)) continue;
        if (name) *name = builtins[i].name;
        return builtins[i].source;
    }
    return NULL;
}
