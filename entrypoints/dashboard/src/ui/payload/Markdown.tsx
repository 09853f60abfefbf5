/** Markdown drawn as elements from tokens: no HTML is made of it, and nothing is loaded. */
import "../../app.tsx"; // is loaded already; see main.tsx
import { Lexer, type Token, type Tokens } from "marked";
import type { ComponentChild, JSX } from "preact";
import { useMemo } from "preact/hooks";

const SAFE_LINK = /^(https?:\/\/|mailto:)/i;
const DEPTH_MAX = 30;
const BLANKS_MAX = 40;
const LONG_BLANKS = new RegExp(`[ \\t]{${BLANKS_MAX},}`, "g");

export function Markdown({ text }: { text: string }): JSX.Element {
  const tokens = useMemo(() => tokensOf(text), [text]);
  return tokens === null ? <div class="plain">{text}</div> : <div class="markdown">{blocks(tokens, 0)}</div>;
}

/** Null if it is nested so deeply that the parser gives up. */
function tokensOf(text: string): Token[] | null {
  try {
    // The parser takes the square of the length of a run of blanks.
    return Lexer.lex(text.replace(LONG_BLANKS, (run) => run.slice(0, BLANKS_MAX)), { gfm: true, breaks: true });
  } catch {
    return null;
  }
}

function blocks(tokens: readonly Token[] | undefined, depth: number): ComponentChild[] {
  if (depth > DEPTH_MAX) return (tokens ?? []).map((token) => token.raw);
  return (tokens ?? []).map((token, index) => block(token, index, depth));
}

function block(token: Token, key: number, depth: number): ComponentChild {
  switch (token.type) {
    case "space":
      return null;
    case "heading": {
      const Heading = `h${Math.min(6, (token as Tokens.Heading).depth + 2)}` as "h3";
      return <Heading key={key}>{blocks(token.tokens, depth + 1)}</Heading>;
    }
    case "paragraph":
      return <p key={key}>{blocks(token.tokens, depth + 1)}</p>;
    case "code":
      return (
        <pre key={key} tabIndex={0}>
          <code>{token.text}</code>
        </pre>
      );
    case "blockquote":
      return <blockquote key={key}>{blocks(token.tokens, depth + 1)}</blockquote>;
    case "hr":
      return <hr key={key} />;
    case "list": {
      const list = token as Tokens.List;
      const items = list.items.map((item, index) => (
        <li key={index}>
          {item.task && <input type="checkbox" disabled checked={item.checked ?? false} aria-label="done" />}
          {blocks(item.tokens, depth + 1)}
        </li>
      ));
      return list.ordered ? (
        <ol key={key} start={list.start === "" ? 1 : list.start}>
          {items}
        </ol>
      ) : (
        <ul key={key}>{items}</ul>
      );
    }
    case "table": {
      const table = token as Tokens.Table;
      return (
        <table key={key}>
          <thead>
            <tr>
              {table.header.map((cell, index) => (
                <th key={index}>{blocks(cell.tokens, depth + 1)}</th>
              ))}
            </tr>
          </thead>
          <tbody>
            {table.rows.map((row, index) => (
              <tr key={index}>
                {row.map((cell, at) => (
                  <td key={at}>{blocks(cell.tokens, depth + 1)}</td>
                ))}
              </tr>
            ))}
          </tbody>
        </table>
      );
    }
    default:
      return inline(token, key, depth);
  }
}

function inline(token: Token, key: number, depth: number): ComponentChild {
  switch (token.type) {
    case "strong":
      return <strong key={key}>{blocks(token.tokens, depth + 1)}</strong>;
    case "em":
      return <em key={key}>{blocks(token.tokens, depth + 1)}</em>;
    case "del":
      return <del key={key}>{blocks(token.tokens, depth + 1)}</del>;
    case "codespan":
      return <code key={key}>{token.text}</code>;
    case "br":
      return <br key={key} />;
    case "escape":
      return token.text;
    case "link":
      return <SafeLink key={key} href={token.href}>{blocks(token.tokens, depth + 1)}</SafeLink>;
    case "image":
      return <SafeLink key={key} href={token.href}>image: {token.text || token.href}</SafeLink>;
    case "text":
      return token.tokens ? blocks(token.tokens, depth + 1) : token.text;
    default:
      return token.raw; // HTML is shown as the text that it is
  }
}

/** The host is shown, so that a text can't pass off a link as another one. */
function SafeLink({ href, children }: { href: string; children: ComponentChild }): JSX.Element {
  if (!SAFE_LINK.test(href)) return <span title={href}>{children}</span>;
  const host = /^https?:\/\/([^/?#]+)/i.exec(href)?.[1];
  return (
    <a href={href} target="_blank" rel="noreferrer noopener" title={href}>
      {children}
      {host && <small class="host"> ({host})</small>}
    </a>
  );
}
