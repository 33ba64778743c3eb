"""Prints docs/cli.md: every command and option, from what the program says of itself.

    cli.py PROGRAM
"""

import re
import subprocess
import sys
from collections import Counter

HEAD = """\
# Every command and option

<!-- Made from what `buckethead --help` says by `make cli-docs`; do not edit. -->

What each command is for, and what they have in common, is in [commands.md](commands.md). `--help` says the same as this page; `-h` is its short form. Variables are those of the environment.
"""

# An option that so many commands have is told of once.
COMMON = 8
SECTIONS = ("Commands", "Arguments", "Options")
NOTES = {"env": "Variable", "default": "Default", "alias": "Also", "aliases": "Also", "possible values": "One of"}


def ask(program, words, name="buckethead"):
    """What a command says of itself. Nothing of this machine shows in it: neither the width of a terminal nor what a variable is set to."""
    done = subprocess.run([name, *words, "--help"], executable=program, env={"COLUMNS": "10000"}, capture_output=True, text=True, check=True)
    return done.stdout


class Command:
    def __init__(self, words, text):
        self.words, self.sections, self.rest = words, {}, []
        about, _, text = text.partition("\nUsage: ")
        self.about = about.strip()
        self.usage, _, text = text.partition("\n")
        for block in re.split(r"\n(?=\S)", text.strip("\n")):
            title, _, body = block.partition("\n")
            if title.removesuffix(":") in SECTIONS:
                self.sections[title.removesuffix(":")] = entries(body)
            elif block:
                self.rest.append(block.strip("\n"))

    def children(self):
        names = (spec.split()[0] for spec, _ in self.sections.get("Commands", []))
        return [name for name in names if name != "help"]

    def options(self):
        return [entry for name in ("Arguments", "Options") for entry in self.sections.get(name, []) if not entry[0].startswith(("-h,", "-V,"))]


def entries(body):
    """The entries of a section: what is typed, and what it means."""
    found = []
    for line in body.split("\n"):
        if re.match(r" {2,6}\S", line):
            spec, said = re.match(r" *(\S.*?)(?:  +|$)(.*)", line).groups()
            found.append((spec, [said]))
        elif found:
            found[-1][1].append(line.strip())
    return [(spec, meaning(lines)) for spec, lines in found]


def meaning(lines):
    """What stands below an option, as one paragraph: its text, its values, its variable and default."""
    said, values, notes = [], [], []
    for line in lines:
        while note := re.search(r" ?\[(env|default|alias|aliases|possible values): ([^]]*)\]$", line):
            line = line[: note.start()]
            notes.append(f"{NOTES[note[1]]} `{note[2].removesuffix('=')}`.")
        if value := re.match(r"- (\S+?)(: +(.*))?$", line):
            values.append(f"`{value[1]}` ({value[3]})" if value[3] else f"`{value[1]}`")
        elif line and line != "Possible values:":
            said.append(line if line.endswith((".", ":")) else f"{line}.")
    said += [f"One of {', '.join(values)}."] if values else []
    return " ".join(said + notes)


def prose(text):
    """Text of the program, where what is not code has no tags."""
    parts = text.split("`")
    parts[::2] = [part.replace("<", "&lt;").replace("*", "\\*") for part in parts[::2]]
    return "`".join(parts)


def item(entry):
    return f"- `{entry[0]}`: {prose(entry[1])}"


def name(spec):
    """The part of an option by which one asks for it."""
    return re.search(r"--[a-z0-9-]+", spec)[0]


def page(command, common):
    title = " ".join(["buckethead", *command.words])
    text = [f"{'#' * min(len(command.words) + 1, 3)} {title}", "", prose(command.about), "", "```text", command.usage, "```", ""]
    if children := command.children():
        of = dict((spec.split()[0], said) for spec, said in command.sections["Commands"])
        text += [f"- [`{child}`](#{'-'.join(['buckethead', *command.words, child])}): {prose(of[child])}" for child in children] + [""]
    own = [entry for entry in command.options() if entry not in common]
    shared = [f"`{name(entry[0])}`" for entry in command.options() if entry in common]
    text += [item(entry) for entry in own] + [""] * bool(own)
    text += [f"And {', '.join(shared)}, as [above](#options-of-many-commands).", ""] if shared else []
    for block in command.rest:
        if block.startswith("Examples:"):
            text += ["```sh", re.sub(r"(?m)^  ", "", block.partition("\n")[2]), "```", ""]
        elif block not in common:
            text += [prose(block), ""]
    return "\n".join(text)


def all_commands(program, words=()):
    command = Command(list(words), ask(program, words))
    yield command
    for child in command.children():
        yield from all_commands(program, [*words, child])


def plugin(program, commands):
    """The pages of the same program under the name of a plugin: what each command takes besides what it takes everywhere."""
    root = Command([], ask(program, [], "kubectl-buckethead"))
    everywhere = {command.words[0]: command for command in commands if len(command.words) == 1}
    of_all = root.options()
    text = ["## kubectl buckethead", "", prose(root.about) + " [kubectl.md](kubectl.md) tells how it is used.", "", "```text", root.usage, "```", ""]
    text += [item(entry) for entry in of_all] + [""]
    for word in root.children():
        command = Command([word], ask(program, [word], "kubectl-buckethead"))
        known = everywhere.get(word)
        same = known.options() if known else []
        own = [entry for entry in command.options() if entry not in of_all and entry not in same]
        text += [f"### kubectl buckethead {word}", "", prose(command.about), "", "```text", command.usage, "```", ""]
        text += [item(entry) for entry in own] + [""] * bool(own)
        if known and (known.children() or any(entry in same for entry in command.options())):
            text += [f"The rest is as of [`buckethead {word}`](#buckethead-{word}).", ""]
    return "\n".join(text)


def main(program):
    _, *commands = list(all_commands(program))
    count = Counter(said for command in commands for said in [*command.options(), *command.rest])
    common = [said for said, times in count.items() if times >= COMMON and not said[0].startswith("<")]
    print(HEAD)
    print("## Options of many commands\n")
    print("\n".join(item(said) for said in common if isinstance(said, tuple)) + "\n")
    print("\n\n".join(prose(said) for said in common if isinstance(said, str)) + "\n")
    print("\n".join(page(command, common) for command in commands))
    print(plugin(program, commands).rstrip("\n"))


main(sys.argv[1])
