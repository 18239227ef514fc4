// chat_session.c - a conversation with its cache in a file: /save and /load, and --session of `tl chat` and `tl generate`.
#include "chat.h"
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

json_t *chat_json(const chat *c) {
    json_t *list = json_array();
    for (size_t i = 0; i < c->n; i++)
        json_array_append_new(list, json_pack("{s:s, s:o}", "role", c->messages[i].role, "content", json_bytes(c->messages[i].content, strlen(c->messages[i].content))));
    return list;
}

int reply_save(const char *command, const reply *r, const char *path, const char *note) {
    tl_error err;
    size_t n = note ? strlen(note) : 0;
    return tl_session_save(r->o->session, 0, path, note, n, &err) == TL_OK ? 0 : fail_with(command, &err);
}

int reply_load(const char *command, reply *r, const char *path, char **note) {
    tl_error err;
    int32_t *ids;
    size_t n;
    if (tl_session_load(r->o->session, 0, path, &ids, &n, note, NULL, &err) != TL_OK) return fail_with(command, &err);
    r->held.n = 0;
    int status = 0;
    for (size_t i = 0; i < n && status == 0; i++)
        if (!token_list_add(&r->held, ids[i])) status = fail(command, "out of memory");
    tl_free(ids);
    return status;
}

int chat_save_session(chat *c, const char *path) {
    json_t *list = chat_json(c);
    char *note = json_dumps(list, JSON_COMPACT);
    json_decref(list);
    int status = note ? reply_save("chat", &c->reply, path, note) : fail("chat", "out of memory");
    free(note);
    if (status == 0) fprintf(stderr, "[%zu messages and their %zu tokens in %s]\n", c->n, c->reply.held.n, path);
    return status;
}

static const char *known_role(const char *role) { // chat_add keeps the pointer
    static const char *const roles[] = {"system", "user", "assistant"};
    for (size_t i = 0; role && i < 3; i++)
        if (strcmp(role, roles[i]) == 0) return roles[i];
    return NULL;
}

static int take_messages(chat *c, const json_t *list, const char *path) {
    size_t i;
    json_t *m;
    bool good = json_is_array(list);
    json_array_foreach(list, i, m) good = good && known_role(json_string_value(json_object_get(m, "role"))) && json_is_string(json_object_get(m, "content"));
    if (!good) return fail("chat", "%s: there is no conversation in it", path);
    chat_set_system(c, "");
    chat_clear(c);
    json_array_foreach(list, i, m)
        if (!chat_add(c, known_role(json_string_value(json_object_get(m, "role"))), json_string_value(json_object_get(m, "content")))) return fail("chat", "out of memory");
    return 0;
}

// A file of /save: JSON, or a session with its cache.
int chat_load(chat *c, const char *path) {
    char *note = NULL, first = 0;
    FILE *f = fopen(path, "rb");
    if (f && fread(&first, 1, 1, f) != 1) first = 0;
    if (f) fclose(f);
    json_t *list = NULL;
    int status = 0;
    if (first == '[') c->reply.held.n = 0, list = json_load_file(path, 0, NULL);
    else if ((status = reply_load("chat", &c->reply, path, &note)) == 0) list = json_loads(note, 0, NULL);
    tl_free(note);
    if (status == 0) status = take_messages(c, list, path);
    json_decref(list);
    for (size_t i = 0; status == 0 && i < c->reply.held.n; i++) tl_sampler_accept(c->reply.sampler, c->reply.held.p[i]); // as if computed now
    if (status == 0) fprintf(stderr, "[%zu messages from %s]\n", c->n, path);
    return status;
}
