" Vim syntax of TensorLogic (.tl) programs; the words are those of docs/language-grammar.md.
if exists('b:current_syntax')
  finish
endif

syntax case match
syntax match   tlShebang     "\%^#!.*$"
syntax keyword tlTodo        TODO FIXME XXX NOTE contained
syntax region  tlComment     start="//" end="$" contains=tlTodo,@Spell
syntax region  tlComment     start="/\*" end="\*/" contains=tlTodo,@Spell

syntax match   tlEscape      "\\[ntr0\\\"'{}]" contained
syntax match   tlEscape      "\\x\x\{2}" contained
syntax match   tlEscape      "\\u{\x\{1,6}}" contained
syntax match   tlEscape      "{{\|}}" contained
syntax match   tlHole        "{\h[^{}\"\\]*}" contained
syntax region  tlString      start=+"+ skip=+\\.+ end=+"\|$+ contains=tlEscape,tlHole,@Spell

syntax match   tlNumber      "\<\d[0-9_]*\>"
syntax match   tlNumber      "\<0[xX]\x[0-9A-Fa-f_]*\>"
syntax match   tlNumber      "\<0[bB][01][01_]*\>"
syntax match   tlFloat       "\<\d[0-9_]*\.\d*\([eE][-+]\=\d\+\)\="
syntax match   tlFloat       "\<\d[0-9_]*[eE][-+]\=\d\+\>"
syntax match   tlFloat       "[[:alnum:]_')\]]\@1<!\.\d[0-9_]*\([eE][-+]\=\d\+\)\="

syntax keyword tlConditional if else
syntax keyword tlRepeat      for in while
syntax keyword tlStatement   break continue return where
syntax keyword tlInclude     import
syntax keyword tlDeclare     let fn
syntax keyword tlOperatorWord not as
syntax match   tlOperatorWord "\<\(and\|or\)\>" " no keywords: or= and or[i](...) are matched below
syntax keyword tlBoolean     true false
syntax keyword tlSpecialName result
" Words that are reserved only where a statement begins and what follows makes them a declaration.
syntax match   tlDeclare     "^\s*\zs\(dim\|tensor\|relation\|entity\|embedding\|test\|bench\)\ze\s\+\K"
syntax match   tlDeclare     "^\s*\zs\(main\|learn\|infer\)\ze\s*{"
syntax match   tlStatement   "^\s*\zs\(query\|rule\|assert\|infer\)\ze\s\+[^=:+*~-]"
syntax match   tlStatement   "^\s*\zs\(patch\)\ze\s\+\(\(max\|min\|avg\|or\)=\)\@!\K"
syntax match   tlStatement   "^\s*\zsassert\ze("
syntax match   tlRepeat      "^\s*\zsloop\ze\s*{"
syntax match   tlModifier    "[]a-z0-9_]\s\+\zs\(learnable\|frozen\|state\)\>\ze\s*\(=\|//\|$\)"
syntax keyword tlType        float16 float32 float64 bfloat16 f16 f32 f64 bf16 float int int8 int16 int32 int64 bool string
syntax match   tlType        "\<[qQ][2-8]_[01K]\(_[SML]\)\=\>"

syntax match   tlCall        "\K\k*\ze("
syntax match   tlFold        "\<\(sum\|prod\|max\|min\|avg\|mean\|or\|and\|any\|all\|count\|argmax\|argmin\|lse\)\ze\[[^]]*\]("
syntax match   tlAssign      ":=\|+=\|-=\|\*=\|\~"
syntax match   tlAssign      "\<\(max\|min\|avg\|or\)\s*==\@!"
syntax match   tlRuleArrow   "[])]\s*\zs<-\ze\_s"
syntax match   tlAxisMark    "[[:alnum:]_')]\@1<=\.\ze\s*[],)]"
syntax match   tlField       "[[:alnum:]_')\]]\@1<=\.\K\k*"

highlight default link tlShebang      PreProc
highlight default link tlTodo         Todo
highlight default link tlComment      Comment
highlight default link tlEscape       SpecialChar
highlight default link tlHole         Special
highlight default link tlString       String
highlight default link tlNumber       Number
highlight default link tlFloat        Float
highlight default link tlConditional  Conditional
highlight default link tlRepeat       Repeat
highlight default link tlStatement    Statement
highlight default link tlInclude      Include
highlight default link tlDeclare      Keyword
highlight default link tlOperatorWord Operator
highlight default link tlBoolean      Boolean
highlight default link tlSpecialName  Identifier
highlight default link tlModifier     StorageClass
highlight default link tlType         Type
highlight default link tlCall         Function
highlight default link tlFold         Function
highlight default link tlAssign       Operator
highlight default link tlRuleArrow    Operator
highlight default link tlAxisMark     Special
highlight default link tlField        Identifier

let b:current_syntax = 'tensorlogic'
