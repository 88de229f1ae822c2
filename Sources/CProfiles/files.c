// Policy fragments that come with the program, as the compiler finds them in Examples/policies.
#include "CProfiles.h"

#pragma clang diagnostic ignored "-Wc23-extensions"
static const unsigned char claude_code[] = {
#embed "../../Examples/policies/claude-code.yaml"
};
static const unsigned char codex[] = {
#embed "../../Examples/policies/codex.yaml"
};
static const unsigned char gemini[] = {
#embed "../../Examples/policies/gemini.yaml"
};
static const unsigned char aider[] = {
#embed "../../Examples/policies/aider.yaml"
};
static const unsigned char opencode[] = {
#embed "../../Examples/policies/opencode.yaml"
};
static const unsigned char python[] = {
#embed "../../Examples/policies/python.yaml"
};
static const unsigned char node[] = {
#embed "../../Examples/policies/node.yaml"
};
static const unsigned char rust[] = {
#embed "../../Examples/policies/rust.yaml"
};
static const unsigned char java[] = {
#embed "../../Examples/policies/java.yaml"
};
static const unsigned char debian[] = {
#embed "../../Examples/policies/debian.yaml"
};
static const unsigned char github[] = {
#embed "../../Examples/policies/github.yaml"
};
static const unsigned char openai[] = {
#embed "../../Examples/policies/openai.yaml"
};
static const unsigned char anthropic[] = {
#embed "../../Examples/policies/anthropic.yaml"
};
static const unsigned char google[] = {
#embed "../../Examples/policies/google.yaml"
};

static const struct cprofiles_file files[] = {
    {"claude-code", claude_code, sizeof claude_code},
    {"codex", codex, sizeof codex},
    {"gemini", gemini, sizeof gemini},
    {"aider", aider, sizeof aider},
    {"opencode", opencode, sizeof opencode},
    {"python", python, sizeof python},
    {"node", node, sizeof node},
    {"rust", rust, sizeof rust},
    {"java", java, sizeof java},
    {"debian", debian, sizeof debian},
    {"github", github, sizeof github},
    {"openai", openai, sizeof openai},
    {"anthropic", anthropic, sizeof anthropic},
    {"google", google, sizeof google},
};

const struct cprofiles_file *cprofiles_all(void) { return files; }
size_t cprofiles_count(void) { return sizeof files / sizeof *files; }
