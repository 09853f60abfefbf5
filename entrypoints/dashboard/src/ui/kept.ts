/** Components of rows, which are drawn again only if one of their properties has changed. */
import type { ComponentClass, JSX } from "preact";
import { Component } from "preact";

export function kept<P extends object>(render: (props: P) => JSX.Element): ComponentClass<P> {
  return class extends Component<P> {
    override shouldComponentUpdate(next: P): boolean {
      return (Object.keys(next) as (keyof P)[]).some((name) => next[name] !== this.props[name]);
    }

    override render(): JSX.Element {
      return render(this.props);
    }
  };
}
