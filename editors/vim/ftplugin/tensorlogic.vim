if exists('b:did_ftplugin')
  finish
endif
let b:did_ftplugin = 1

setlocal commentstring=//\ %s
setlocal comments=s1:/*,mb:*,ex:*/,://
setlocal expandtab shiftwidth=4 softtabstop=4
setlocal cindent cinoptions=L0,(s,J1,j1
setlocal iskeyword=@,48-57,_,192-255,'
setlocal suffixesadd=.tl include=^\\s*import

let b:undo_ftplugin = 'setlocal commentstring< comments< expandtab< shiftwidth< softtabstop< cindent< cinoptions< iskeyword< suffixesadd< include<'
