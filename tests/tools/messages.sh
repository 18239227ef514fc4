# What an editor sends: messages of the Language Server Protocol, one JSON document a line, on stdout with their headers.
while IFS= read -r line; do
    printf 'Content-Length: %d\r\n\r\n%s' "$(printf '%s' "$line" | wc -c)" "$line"
done
