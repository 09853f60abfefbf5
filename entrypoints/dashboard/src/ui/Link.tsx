/** A link to another page of the dashboard. It has no hook, since a list has many. */
import type { JSX } from "preact";
import { navigate } from "wouter-preact/use-browser-location";
import { BASE } from "../url/base.ts";

export function Link({ href, onClick, ...rest }: JSX.AnchorHTMLAttributes<HTMLAnchorElement> & { href: string }): JSX.Element {
  const open = (event: JSX.TargetedMouseEvent<HTMLAnchorElement>): void => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.shiftKey || event.button !== 0) return; // the browser opens it elsewhere
    onClick?.(event);
    if (event.defaultPrevented) return;
    event.preventDefault();
    navigate(BASE + href);
  };
  return <a {...rest} href={BASE + href} onClick={open} />;
}
