"""The native subset: functions in Python's syntax, with types as annotations, compiled to LLVM IR.

What is written in it is a module of Python, which is imported for its names, and whose functions are read and never run. Tools
for Python see its names and types; the compiler checks all of it, and its error (`NativeSubsetError`) names file, line and
function. `language` has the names that a source imports, `compiler` is what compiles it.

    source      = {import | structure | constant | declaration | function}
    structure   = "class" NAME "(" STRUCT ["," "size" "=" INT] "):" {NAME ":" type ["=" place]}
    place       = "at(" INT ")" | "inline(" [INT] ")" | "measured()"
    constant    = NAME "=" anything of Python whose value is an int, a STRUCT(INT), or memory(STRUCT, INT)
    declaration = ["@Symbol(" STRING ")"] "def" NAME "(" parameters ["," "*" NAME] ")" "->" result ": ..."
    function    = "def" NAME "(" parameters ")" "->" result ":" {statement}
    parameters  = [NAME ":" type {"," NAME ":" type}]
    result      = type | "None"
    type        = "i8" | "i16" | "i32" | "i64" | "ptr" | STRUCT | "Array[" type "]"
                | "Callable[[" [type {"," type}] "]," result "]"

    statement   = target "=" value | NAME ":" type "=" value | NAME operator "=" value | call
                | "if" condition ":" {statement} {"elif" condition ":" {statement}} ["else:" {statement}]
                | "while" (condition | "True") ":" {statement} | "break" | "continue" | "return" [value]
    target      = NAME | value "." FIELD | value "[" value "]"
    condition   = value ("==" | "!=" | "<" | "<=" | ">" | ">=") value
                | "not" condition | condition "and" condition | condition "or" condition
    value       = INT | NAME | ENUM "." NAME | "null" | "-" value | value operator value
                | value "." FIELD | value "[" value "]" | call
    operator    = "+" | "-" | "*" | "//" | "&" | "|" | "^" | "<<" | ">>"
    call        = value "(" [value {"," value}] ")" | type "(" value ")"
                | "address(" (NAME | value "." FIELD) ")" | "array(" type "," INT ")"
                | "atomic_load(" value "," ORDER ")" | "atomic_store(" value "," value "," ORDER ")"
                | "exchange(" value "," value ")" | "compare_exchange(" value "," value "," value ")"

Integers wrap around; `//` and `>>` take theirs as unsigned, all else as signed. Both sides of an operator have one type; a
constant has any that holds it, and is an i64 where nothing else says. A type that is called converts: integers with their
sign, an address to an i64, an i64 to a ptr, an address to one of something else. A structure means its address; `+` and `-` on
an address count in what lies there, which is bytes for a ptr. An address stands for one of a structure that its own begins
with, and for a ptr; `null` for any address or function.

A parameter keeps its value. A variable has the type of what it is first assigned or of its annotation, in the whole function,
and is assigned on every path to where it is used. A function that returns something does so on every path; nothing is written
where no path leads. A function that is declared is C's, LLVM's (`Symbol("llvm...")`), or defined with the same types in another
source; what is neither is no function. Sources that are compiled together have one function of a name.
"""
