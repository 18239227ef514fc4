// test_editors.c - the editors' files know every reserved word, every fold, and the words that open a statement.
#include "cases.h"
#include "lang/parse.h"

static bool has_word(str text, const char *word) {
    size_t n = strlen(word);
    for (size_t i = 0; i + n <= text.n; i++) {
        if (memcmp(text.p + i, word, n) != 0) continue;
        char before = i > 0 ? text.p[i - 1] : ' ', after = i + n < text.n ? text.p[i + n] : ' ';
        if (strchr(" \n(|", before) != NULL && strchr(" \n)|\\(", after) != NULL) return true;
    }
    return false;
}

static void check_file(const char *path) {
    static const char *const folds[] = {"sum", "prod", "max", "min", "avg", "mean", "or", "and", "any", "all", "count", "argmax", "argmin", "lse"};
    static const char *const openings[] = {"dim", "tensor", "relation", "entity", "embedding", "test", "main", "learn", "infer", "query", "rule", "assert", "patch"};
    size_t n;
    char *text = read_file(path, &n);
    for (int k = TK_LET; k < TK_COUNT; k++)
        if (!has_word((str){text, n}, token_kind_text((tk_kind)k))) fail_msg("%s lacks '%s'", path, token_kind_text((tk_kind)k));
    for (size_t i = 0; i < sizeof folds / sizeof *folds; i++) {
        bool keyword = keyword_find(str_of(folds[i])) != TK_NAME;
        assert_true(keyword || parse_fold_word(str_of(folds[i])));
        if (!has_word((str){text, n}, folds[i])) fail_msg("%s lacks '%s'", path, folds[i]);
    }
    for (size_t i = 0; i < sizeof openings / sizeof *openings; i++)
        if (!has_word((str){text, n}, openings[i])) fail_msg("%s lacks '%s'", path, openings[i]);
    assert_false(has_word((str){text, n}, "no_such_word"));
    mem_free(text);
}

static void words(void **state) {
    (void)state;
    check_file(REPO_DIR "/editors/vim/syntax/tensorlogic.vim");
    check_file(REPO_DIR "/editors/vscode/syntaxes/tensorlogic.tmLanguage.json");
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(words)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
