import type { App } from './context.ts';

export type Shell = 'bash' | 'zsh' | 'fish';

// Bash breaks words at = and : as well, and then replaces only what stands behind the last of them.
const BASH = `# sallyport completion for bash
_sallyport() {
  local line="\${COMP_LINE:0:COMP_POINT}" answer directive word
  local -a words
  read -r -a words <<<"$line"
  [[ "$line" == *[[:space:]] ]] && words+=("")
  local current="\${words[\${#words[@]}-1]}"
  answer=$("\${words[0]}" __complete "\${words[@]:1}" 2>/dev/null) || return
  directive="\${answer##*:}"
  local broken="\${current%"\${current##*[=:]}"}"
  COMPREPLY=()
  if ((directive & 16)); then
    mapfile -t COMPREPLY < <(compgen -d -- "\${current##*=}")
    compopt -o filenames
    return
  fi
  if ((!(directive & 4))); then
    mapfile -t COMPREPLY < <(compgen -f -- "\${current##*=}")
    compopt -o filenames
    return
  fi
  while IFS= read -r word; do
    [[ "$word" == :* || -z "$word" ]] && continue
    word="\${word%%$'\\t'*}"
    printf -v word '%q' "$word"
    COMPREPLY+=("\${word#"$broken"}")
  done <<<"$answer"
  ((directive & 2)) && compopt -o nospace
}
complete -F _sallyport sallyport
`;

const ZSH = `#compdef sallyport
# sallyport completion for zsh
_sallyport() {
  local answer directive line
  local -a offered
  answer=$("\${words[1]}" __complete "\${(@)words[2,CURRENT]}" 2>/dev/null) || return
  directive="\${answer##*:}"
  if ((directive & 16)); then _files -/; return; fi
  if ((!(directive & 4))); then _files; return; fi
  while IFS= read -r line; do
    [[ "$line" == :* || -z "$line" ]] && continue
    # A colon parts a word from what it is.
    offered+=("\${\${line%%$'\\t'*}//:/\\\\:}\${\${(M)line%$'\\t'*}:+:\${line#*$'\\t'}}")
  done <<<"$answer"
  if ((directive & 2)); then _describe sallyport offered -S ''; else _describe sallyport offered; fi
}
if [[ "$funcstack[1]" = _sallyport ]]; then _sallyport; else compdef _sallyport sallyport; fi
`;

const FISH = `# sallyport completion for fish
function __sallyport_complete
    set -l words (commandline -opc) (commandline -ct)
    set -l answer ($words[1] __complete $words[2..-1] 2>/dev/null)
    or return
    set -l directive (string sub -s 2 -- $answer[-1])
    set -l current (commandline -ct)
    if test (math "bitand($directive, 16)") -ne 0
        __fish_complete_directories $current
        return
    end
    if test (math "bitand($directive, 4)") -eq 0
        __fish_complete_path $current
        return
    end
    printf '%s\\n' $answer[1..-2]
end
complete -c sallyport -f -a '(__sallyport_complete)'
`;

/** Prints the script that a shell loads; it asks `sallyport __complete` at every Tab. */
export function completionScript(app: App, shell: Shell): Promise<void> {
  app.output.raw({ bash: BASH, zsh: ZSH, fish: FISH }[shell]);
  return Promise.resolve();
}
