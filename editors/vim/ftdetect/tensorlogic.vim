" Vim itself takes .tl for Teal, so the type is set, not proposed.
autocmd BufNewFile,BufRead *.tl set filetype=tensorlogic
