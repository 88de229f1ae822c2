// The page's files, as the compiler finds them here.
#include "CDashboard.h"

#pragma clang diagnostic ignored "-Wc23-extensions"
static const unsigned char html[] = {
#embed "page.html"
};
static const unsigned char css[] = {
#embed "page.css"
};
static const unsigned char js[] = {
#embed "page.js"
};
static const unsigned char icon[] = {
#embed "icon.svg"
};
static const unsigned char approvals_html[] = {
#embed "approvals.html"
};
static const unsigned char approvals_css[] = {
#embed "approvals.css"
};
static const unsigned char approvals_js[] = {
#embed "approvals.js"
};

const unsigned char *cdashboard_html(size_t *length) {
  *length = sizeof html;
  return html;
}

const unsigned char *cdashboard_css(size_t *length) {
  *length = sizeof css;
  return css;
}

const unsigned char *cdashboard_js(size_t *length) {
  *length = sizeof js;
  return js;
}

const unsigned char *cdashboard_icon(size_t *length) {
  *length = sizeof icon;
  return icon;
}

const unsigned char *cdashboard_approvals_html(size_t *length) {
  *length = sizeof approvals_html;
  return approvals_html;
}

const unsigned char *cdashboard_approvals_css(size_t *length) {
  *length = sizeof approvals_css;
  return approvals_css;
}

const unsigned char *cdashboard_approvals_js(size_t *length) {
  *length = sizeof approvals_js;
  return approvals_js;
}
